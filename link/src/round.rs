//! Which broker is next, and which failure is news. Pure.

use std::sync::Arc;

use crate::event::Reason;
use crate::options::BrokerUrl;

/// One way through a list of brokers, best first, then from the top again.
#[derive(Debug, Default)]
pub(crate) struct Round {
    urls: Arc<[BrokerUrl]>,
    next: usize,
}

impl Round {
    /// The next of the newest list, which is never empty; another list begins at its top.
    pub(crate) fn next(&mut self, newest: Arc<[BrokerUrl]>) -> BrokerUrl {
        if self.urls != newest || self.next >= newest.len() {
            self.urls = newest;
            self.next = 0;
        }
        self.next += 1;
        self.urls[self.next - 1].clone()
    }

    /// Whether some of the list are left.
    pub(crate) fn goes_on(&self) -> bool {
        self.next < self.urls.len()
    }
}

/// Failures that were told, the last one of each broker.
#[derive(Debug, Default)]
pub(crate) struct Told(Vec<(BrokerUrl, Reason)>);

impl Told {
    /// More brokers than any list has; those longest not heard of are told again.
    const MAX: usize = 32;

    /// Whether the failure differs from the last one of this broker.
    pub(crate) fn is_news(&mut self, url: &BrokerUrl, reason: &Reason) -> bool {
        let before = self.0.iter().position(|(told, _)| told == url);
        let before = before.map(|at| self.0.remove(at));
        if self.0.len() >= Self::MAX {
            self.0.remove(0);
        }
        self.0.push((url.clone(), reason.clone()));
        before.is_none_or(|(_, told)| told != *reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(hosts: &[&str]) -> Arc<[BrokerUrl]> {
        let url = |host: &&str| format!("mqtts://{host}").parse().unwrap();
        hosts.iter().map(url).collect()
    }

    #[test]
    fn each_of_a_list_is_tried_before_a_pause() {
        let urls = list(&["a", "b", "c"]);
        let mut round = Round::default();
        let tried: Vec<_> = (0..7)
            .map(|_| (round.next(Arc::clone(&urls)).host, round.goes_on()))
            .collect();
        let expected = [
            ("a", true),
            ("b", true),
            ("c", false),
            ("a", true),
            ("b", true),
            ("c", false),
            ("a", true),
        ];
        assert_eq!(tried, expected.map(|(host, rest)| (host.to_owned(), rest)));
    }

    #[test]
    fn another_list_begins_at_its_top() {
        let mut round = Round::default();
        round.next(list(&["a", "b", "c"]));
        assert_eq!(round.next(list(&["x", "b"])).host, "x");
        assert_eq!(round.next(list(&["x", "b"])).host, "b");
        assert_eq!(round.next(list(&["y"])).host, "y");
    }

    #[test]
    fn a_failure_is_told_once_for_each_broker() {
        let mut told = Told::default();
        let urls = list(&["a", "b"]);
        let refused = Reason::Network("refused".into());
        assert!(told.is_news(&urls[0], &refused));
        assert!(told.is_news(&urls[1], &refused));
        assert!(!told.is_news(&urls[0], &refused));
        assert!(!told.is_news(&urls[1], &refused));
        assert!(told.is_news(&urls[0], &Reason::Stalled));
        assert!(told.is_news(&urls[0], &refused), "it has changed again");
    }

    #[test]
    fn what_was_told_is_bounded() {
        let mut told = Told::default();
        for n in 0..1000 {
            told.is_news(&list(&[&format!("h{n}")])[0], &Reason::Stalled);
        }
        assert!(told.0.len() <= Told::MAX);
    }
}
