//! Order statistics of what was measured.

/// The value below which `percent` of the values lie (nearest rank); zero of none. Reorders the values.
pub(crate) fn percentile(values: &mut [u64], percent: usize) -> u64 {
    let rank = (values.len() * percent).div_ceil(100).saturating_sub(1);
    if values.is_empty() {
        return 0;
    }
    let (_, value, _) = values.select_nth_unstable(rank);
    *value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank() {
        let check = |values: &[u64], percent, expect| {
            assert_eq!(percentile(&mut values.to_vec(), percent), expect);
        };
        check(&[], 50, 0);
        check(&[7], 99, 7);
        check(&[3, 1, 2], 50, 2);
        check(&[4, 3, 2, 1], 50, 2);
        check(&(1..=1_000).rev().collect::<Vec<_>>(), 99, 990);
        check(&[1, 2], 100, 2);
    }
}
