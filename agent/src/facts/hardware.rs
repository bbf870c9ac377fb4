//! Which board this is: what its hardware says, and no card carries to another one.

use std::fs;
use std::path::Path;

use bramble_wire::version::HardwareId;

/// Where boards have their serial number; the first that says something counts.
const SERIALS: [(&str, &str); 3] = [
    ("serial", "proc/device-tree/serial-number"),
    ("serial", "sys/firmware/devicetree/base/serial-number"),
    ("uuid", "sys/class/dmi/id/product_uuid"),
];
const LINKS: &str = "sys/class/net";
/// Serial numbers of makers who gave none.
const NONE: [&str; 2] = [
    "03000200-0400-0500-0006-000700080009",
    "fefefefe-fefe-fefe-fefe-fefefefefefe",
];

/// Which board this is; `None` where nothing says so.
pub fn id() -> Option<HardwareId> {
    id_below(Path::new("/"))
}

fn id_below(root: &Path) -> Option<HardwareId> {
    let serial = |(kind, path): &(&'static str, &str)| {
        let text = fs::read_to_string(root.join(path)).ok()?;
        let text = text.trim_matches(['\0', '\n', ' ']).to_lowercase();
        let first = text.chars().find(|c| c.is_ascii_alphanumeric())?;
        // Nothing but zeros or ones is what a maker left out.
        let plain = |c: char| !c.is_ascii_alphanumeric() || (c == first && "0f".contains(first));
        let said = !text.chars().all(plain) && !NONE.contains(&&*text);
        said.then_some((*kind, text))
    };
    let address = || permanent_address(&root.join(LINKS)).map(|address| ("mac", address));
    let (kind, text) = SERIALS.iter().find_map(serial).or_else(address)?;
    let mut hash = blake3::Hasher::new();
    hash.update(b"bramble/hardware/1\0");
    hash.update(kind.as_bytes());
    hash.update(b"\0");
    hash.update(text.as_bytes());
    let mut id = [0; 16];
    hash.finalize_xof().fill(&mut id);
    Some(HardwareId(id))
}

/// The lowest address that a link has from its maker; of those that can be unplugged only when there is no
/// other.
fn permanent_address(links: &Path) -> Option<String> {
    let own = |link: fs::DirEntry| {
        let link = link.path();
        let device = fs::canonicalize(link.join("device")).ok()?;
        let read = |name: &str| fs::read_to_string(link.join(name)).ok();
        let address = read("address")?.trim().to_lowercase();
        let permanent = read("addr_assign_type")?.trim() == "0";
        let said = permanent && address.chars().any(|c| !"0:".contains(c));
        let pluggable = device.to_string_lossy().contains("/usb");
        said.then_some((pluggable, address))
    };
    let links = fs::read_dir(links).ok()?;
    let least = links.flatten().filter_map(own).min();
    least.map(|(_, address)| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The id of a board with these files.
    fn board(files: &[(&str, &str)]) -> Option<HardwareId> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        id_below(root.path())
    }

    #[test]
    fn the_serial_number_tells_and_not_what_a_maker_left_out() {
        let serial = "proc/device-tree/serial-number";
        let uuid = "sys/class/dmi/id/product_uuid";
        let one = board(&[(serial, "10000000abcdef01\0")]);
        assert!(one.is_some());
        assert_eq!(board(&[(serial, "10000000ABCDEF01"), (uuid, "x1")]), one);
        assert_ne!(board(&[(serial, "10000000abcdef02\0")]), one);
        let other = board(&[(uuid, "4c4c4544-0042-3010-8046-c7c04f595931\n")]);
        assert!(other.is_some() && other != one);
        for nothing in [
            "",
            "\0",
            "0000000000000000\0",
            "FFFFFFFF-FFFF",
            "  \n",
            NONE[0],
        ] {
            assert_eq!(board(&[(serial, nothing)]), None, "{nothing:?}");
            let both = [
                (serial, nothing),
                (uuid, "4c4c4544-0042-3010-8046-c7c04f595931"),
            ];
            assert_eq!(board(&both), other, "{nothing:?}");
        }
    }

    #[test]
    fn where_there_is_none_the_address_of_a_link_that_stays_tells() {
        let link = |name: &str, address: &str, kind: &str, device: &str| {
            let root = format!("sys/class/net/{name}");
            vec![
                (format!("{root}/address"), address.to_owned()),
                (format!("{root}/addr_assign_type"), kind.to_owned()),
                (format!("{root}/device/{device}"), String::new()),
            ]
        };
        let id = |links: &[Vec<(String, String)>]| {
            let files: Vec<(&str, &str)> = (links.iter().flatten())
                .map(|(path, text)| (&**path, &**text))
                .collect();
            board(&files)
        };
        let own = link("eth0", "b8:27:eb:00:00:02\n", "0\n", "pci");
        let bridge = vec![
            (
                "sys/class/net/br0/address".to_owned(),
                "02:00:00:00:00:01".to_owned(),
            ),
            (
                "sys/class/net/br0/addr_assign_type".to_owned(),
                "0".to_owned(),
            ),
        ];
        let drawn = link("wlan0", "00:00:00:00:00:01", "1", "x");
        let empty = link("dummy", "00:00:00:00:00:00", "0", "x");
        let one = id(std::slice::from_ref(&own));
        assert!(one.is_some());
        assert_eq!(
            id(&[bridge.clone(), drawn.clone(), empty.clone(), own]),
            one
        );
        assert_eq!(id(&[bridge, drawn, empty]), None);
    }
}
