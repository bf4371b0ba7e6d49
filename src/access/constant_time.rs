//! Finding the secret that fits in a time that tells nothing: not which one fits, nor how early.

use subtle::{Choice, ConditionallySelectable};

/// Where the last of the candidates is that fits. Every one is looked at, whatever came before.
pub fn position<T>(
    candidates: impl IntoIterator<Item = T>,
    mut fits: impl FnMut(T) -> Choice,
) -> Option<usize> {
    let none = u32::MAX;
    let mut found = none;
    for (number, candidate) in (0..none).zip(candidates) {
        found.conditional_assign(&number, fits(candidate));
    }
    usize::try_from(found).ok().filter(|_| found != none)
}

/// Whether one of them is true. Every one is looked at.
pub fn any(choices: impl IntoIterator<Item = Choice>) -> Choice {
    choices.into_iter().fold(Choice::from(0), std::ops::BitOr::bitor)
}

#[cfg(test)]
mod tests {
    use subtle::ConstantTimeEq;

    use super::*;

    #[test]
    fn every_candidate_is_looked_at_however_early_one_fits() {
        let mut looked_at = Vec::new();
        let found = position([7_u8, 8, 9], |candidate| {
            looked_at.push(candidate);
            candidate.ct_eq(&7)
        });
        assert_eq!((found, looked_at), (Some(0), vec![7, 8, 9]));
        let mut looked_at = 0;
        let choices = [1, 0, 0].into_iter().inspect(|_| looked_at += 1).map(Choice::from);
        assert!(bool::from(any(choices)));
        assert_eq!(looked_at, 3);
    }

    #[test]
    fn what_fits_nowhere_has_no_position() {
        assert_eq!(position([1_u8, 2], |candidate| candidate.ct_eq(&3)), None);
        assert_eq!(position([0_u8; 0], |candidate| candidate.ct_eq(&3)), None);
        assert!(!bool::from(any([])));
    }
}
