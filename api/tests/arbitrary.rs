//! The fuzz targets for a moment, the same inputs each time: what `./x fuzz` finds in minutes shows
//! here in part, and what it found stays found.

#[path = "../../fuzz/src/mutate.rs"]
#[allow(missing_docs, unreachable_pub)]
mod mutate;
#[path = "../../fuzz/src/targets.rs"]
#[allow(missing_docs, unreachable_pub)]
mod targets;

fn run(name: &str, inputs: u64) {
    let target = targets::TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("a target");
    for seed in target.seeds {
        (target.run)(seed);
    }
    for seed in 0..inputs {
        let input = mutate::input(&mut mutate::Random::new(seed), target.seeds);
        (target.run)(&input);
    }
}

macro_rules! targets {
    ($($test:ident: $name:literal, $inputs:literal;)*) => {
        $(#[test] fn $test() { run($name, $inputs); })*

        #[test]
        fn every_target_is_run() {
            let run = [$($name),*];
            let all: Vec<_> = targets::TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(run.as_slice(), all.as_slice());
        }
    };
}

targets! {
    json: "json", 150;
    yaml: "yaml", 150;
    protobuf: "protobuf", 150;
    delete: "delete", 500;
    json_patch: "json-patch", 200;
    merge_patch: "merge-patch", 200;
    strategic_patch: "strategic-patch", 200;
    apply: "apply", 100;
    labels: "labels", 2000;
    fields: "fields", 200;
    mdns: "mdns", 20000;
}
