use proptest::prelude::*;

use super::*;

/// All ways to give the places to what was said, by trying: of each, the places that it has in one of them.
fn tried(group: &Group) -> Option<Vec<u64>> {
    fn give(group: &Group, number: usize, given: &mut Vec<u32>, places: &mut [u64]) -> bool {
        let Some(said) = group.said.get(number) else {
            places
                .iter_mut()
                .zip(given.iter())
                .for_each(|(places, place)| *places |= 1 << place);
            return true;
        };
        let before = (0..number)
            .rev()
            .find(|other| group.said[*other].way.keeps_the_order_of(said.way));
        let first = before.map_or(0, |before| given[before] + 1);
        let mut found = false;
        // No places are behind the members.
        for place in first..64 {
            if said.places & 1 << place != 0 && !given.contains(&place) {
                given.push(place);
                found |= give(group, number + 1, given, places);
                given.pop();
            }
        }
        found
    }
    let mut places = vec![0; group.said.len()];
    give(group, 0, &mut Vec::new(), &mut places).then_some(places)
}

fn groups() -> impl Strategy<Value = Group> {
    let way = prop_oneof![
        Just(Way::Answer),
        Just(Way::Connected),
        (0..2_u32).prop_map(Way::Call),
        Just(Way::KeptBack(0))
    ];
    (1..7_usize).prop_flat_map(move |members| {
        let said = (way.clone(), 1..1_u64 << members);
        prop::collection::vec(said, 0..=members).prop_map(move |said| Group {
            members: (0..members as u64)
                .map(|serial| Inbound {
                    ticket: Ticket(0),
                    serial,
                })
                .collect(),
            said: said
                .into_iter()
                .map(|(way, places)| Said {
                    what: UNKNOWN,
                    way,
                    places,
                    at_first: places,
                    owner: None,
                    is_found: false,
                })
                .collect(),
            is_strict: true,
            is_narrow: false,
        })
    })
}

proptest! {
    #[test]
    fn the_places_left_are_those_of_all_distributions(group in groups()) {
        let mut group = group;
        let tried = tried(&group);
        let told = group.narrow();
        prop_assert_eq!(told, tried.is_some());
        if let Some(places) = tried {
            prop_assert_eq!(group.said.iter().map(|said| said.places).collect::<Vec<u64>>(), places);
        }
    }
}
