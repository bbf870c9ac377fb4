//! Deliberate mistakes: the simulation must find each of them, or it proves nothing.

use super::stats::Invariant;

macro_rules! mutations {
    ($($(#[$doc:meta])* $variant:ident = $text:literal breaks $($invariant:ident),+; seed $seed:literal;)*) => {
        /// A deliberate mistake.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutation { $($(#[$doc])* $variant,)* }

        impl Mutation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// For people.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What it breaks: found as anything else it may be luck.
            pub fn breaks(self) -> &'static [Invariant] {
                match self { $(Self::$variant => &[$(Invariant::$invariant),+],)* }
            }

            /// A seed that finds it.
            pub fn seed(self) -> u64 {
                match self { $(Self::$variant => $seed,)* }
            }
        }
    };
}

mutations! {
    /// In the agent.
    ActBeforePersist = "the agent acts on a document before it is on its disk" breaks DiskFirst; seed 2;
    /// In the agent.
    SkipNonce = "the agent takes answers whatever nonce they echo" breaks Fresh; seed 62;
    /// In the agent.
    SkipSignature = "the agent takes what anybody signed" breaks Dropped; seed 2;
    /// In the agent.
    SkipFsync = "the agent's writes are not synced" breaks Forward, OneWay; seed 11;
    /// In the agent.
    AcceptOlder = "the agent goes back to a document that it held before" breaks Forward; seed 1;
    /// In the agent.
    HalfDocument = "the agent accepts a document that lacks an object" breaks Whole; seed 1;
    /// In the agent.
    SayGoneEarly = "the agent reports an ending before it is on its disk" breaks EndingDurable; seed 1;
    /// In the agent.
    ForgetBegun = "the agent forgets, when it starts, what it had begun" breaks AtMostOnce; seed 3;
    /// In the agent.
    DropEndings = "the agent's reports leave endings out" breaks Converges; seed 1;
    /// In the agent.
    TellTwice = "the agent tells an event again" breaks ToldOnce; seed 1;
    /// In the agent.
    DropUnclaimed = "the agent drops what a new epoch does not name" breaks Undisturbed; seed 2;
    /// In the agent.
    StopWhenOffline = "the agent stops its containers when it loses the controller" breaks Undisturbed; seed 1;
    /// In the agent.
    StopOnStart = "the agent stops what it finds running when it starts" breaks Undisturbed; seed 2;
    /// In the agent.
    ForgetEndings = "the agent does not remember what has ended" breaks OneWay, AtMostOnce, Once; seed 2;
    /// In the controller: J of the failure table.
    KnownGap = "the controller takes revisions that it has forgotten for its own" breaks LostKept; seed 2;
    /// In the controller.
    AckBeforeDurable = "the controller acknowledges reports before they are on its disk" breaks AckDurable; seed 1;
    /// In the controller.
    SendBeforeDurable = "the controller sends documents before they are on its disk" breaks OneContent; seed 1;
    /// In the controller.
    ConfirmBeforeDurable = "the controller confirms to people before the change is on its disk" breaks Acknowledged; seed 1;
    /// In the controller.
    RemoveBeforeGone = "the controller removes a pod without waiting for its node" breaks GoneFirst; seed 1;
    /// In the controller.
    IgnoreFuture = "the controller ignores that a node knows a future" breaks Converges; seed 1;
    /// In the controller.
    RaiseUnrecorded = "the controller begins an epoch that it does not write down" breaks Whole, OneHistory; seed 2;
    /// In the controller.
    ConfirmByItself = "the controller confirms a new epoch without a person" breaks LostKept, Unclaimed; seed 1;
    /// In the controller.
    PlainSecrets = "the controller sends secrets as if they were ConfigMaps" breaks NoPlainText; seed 1;
    /// In the controller.
    WrongSealingKey = "the controller seals secrets to another node" breaks Sealed; seed 1;
    /// In the controller.
    ReplaceOnce = "the controller replaces a pod that must not run twice while its node is away" breaks Once; seed 1;
}
