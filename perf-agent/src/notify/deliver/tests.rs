use super::*;

#[test]
fn pauses_double_up_to_the_longest_and_scatter() {
    let policy = Policy::default();
    let whole = |failed| pause(&policy, failed, Duration::MAX, 1.0).as_secs();
    let pauses: Vec<_> = (1..=11).map(whole).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(whole(u32::MAX), 300);
    assert_eq!(pause(&policy, 1, Duration::MAX, 0.0), Duration::from_millis(500));
    let short = Duration::from_mins(1);
    assert_eq!(pause(&policy, 20, short, 1.0), short);
}
