//! Names of topics by their ids: newer versions of Fetch and Produce say ids only. They are learned from what Metadata
//! answered on the same connection.

use super::request::name;

/// So many are remembered of a connection; then the oldest ones are forgotten.
const MOST: usize = 32;

/// What is known of ids.
#[derive(Debug, Default)]
pub(super) struct Ids {
    names: Vec<([u8; 16], Box<str>)>,
    /// The next one to be forgotten.
    oldest: usize,
}

impl Ids {
    pub(super) fn learn(&mut self, id: &[u8; 16], topic: &[u8]) {
        let Some(topic) = name(topic).filter(|_| *id != [0; 16]) else {
            return;
        };
        if let Some((_, known)) = self.names.iter_mut().find(|(known, _)| known == id) {
            if **known != *topic {
                *known = topic.into();
            }
        } else if let Some(place) = self.names.get_mut(self.oldest) {
            *place = (*id, topic.into());
            self.oldest = (self.oldest + 1) % MOST;
        } else {
            self.names.push((*id, topic.into()));
            self.oldest = (self.oldest + 1) % MOST;
        }
    }

    pub(super) fn name(&self, id: &[u8; 16]) -> Option<&str> {
        self.names
            .iter()
            .find(|(known, _)| known == id)
            .map(|(_, name)| &**name)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let names = self.names.iter().map(|(_, name)| name.len());
        self.names.capacity() * size_of::<([u8; 16], Box<str>)>() + names.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ids_are_known_and_no_more_than_some() {
        let mut ids = Ids::default();
        for number in 1..=100u8 {
            ids.learn(&[number; 16], format!("topic-{number}").as_bytes());
            assert_eq!(ids.name(&[number; 16]), Some(&*format!("topic-{number}")));
        }
        assert_eq!(ids.names.len(), MOST);
        assert_eq!(ids.name(&[68; 16]), None);
        assert_eq!(ids.name(&[69; 16]), Some("topic-69"));
        ids.learn(&[100; 16], b"renamed");
        assert_eq!(ids.name(&[100; 16]), Some("renamed"));
        ids.learn(&[101; 16], b"no topic");
        ids.learn(&[0; 16], b"none");
        assert_eq!((ids.name(&[101; 16]), ids.name(&[0; 16])), (None, None));
    }
}
