//! Order statistics.

/// The value below which so much of the sample lies; sorts the sample. Nothing for an empty one.
pub(crate) fn quantile(sample: &mut [u64], share: f64) -> Option<u64> {
    sample.sort_unstable();
    let last = sample.len().checked_sub(1)?;
    let at = (last as f64 * share).round() as usize;
    sample.get(at).copied()
}

/// Median, least and greatest of a few values. Nothing for none.
pub(crate) fn spread(values: &[f64]) -> Option<(f64, f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (least, greatest) = (*sorted.first()?, *sorted.last()?);
    let half = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[half]
    } else {
        f64::midpoint(sorted[half - 1], sorted[half])
    };
    Some((median, least, greatest))
}

#[cfg(test)]
mod tests {
    use super::{quantile, spread};

    #[test]
    fn a_quantile_is_a_value_of_the_sample() {
        let mut sample: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(quantile(&mut sample, 0.5), Some(51));
        assert_eq!(quantile(&mut sample, 0.99), Some(99));
        assert_eq!(quantile(&mut [], 0.5), None);
    }

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((2.0, 1.0, 3.0)));
        assert_eq!(spread(&[4.0, 1.0]), Some((2.5, 1.0, 4.0)));
        assert_eq!(spread(&[]), None);
    }
}
