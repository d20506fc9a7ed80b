//! What becomes of each version of a model when others go live. Pure.

use std::collections::BTreeMap;

/// A version as far as succession is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Live,
    /// Resident, and not answering.
    Standby,
    /// Not resident.
    Absent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Live,
    Standby,
    /// It answers what it was asked, then it is freed.
    Retire,
    /// As it was.
    Same,
}

/// `live` go live, the others make room: what answered until now stays resident for a rollback,
/// and takes the place of what did so before. With `keep`, what is live stays live beside them.
pub fn succeed(
    versions: &BTreeMap<u64, Standing>,
    before: Option<u64>,
    live: &[u64],
    current: u64,
    keep: bool,
) -> BTreeMap<u64, Fate> {
    let replaced = before.is_some_and(|b| b != current);
    let fate = |version: u64, standing: Standing| match standing {
        _ if live.contains(&version) => Fate::Live,
        Standing::Live if keep => Fate::Live,
        Standing::Live if before == Some(version) => Fate::Standby,
        Standing::Live => Fate::Retire,
        Standing::Standby if replaced && !keep => Fate::Retire,
        Standing::Standby => Fate::Standby,
        Standing::Absent => Fate::Same,
    };
    versions.iter().map(|(v, s)| (*v, fate(*v, *s))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Absent, Live, Standby};

    fn fates(
        versions: &[(u64, Standing)],
        before: Option<u64>,
        live: &[u64],
        current: u64,
        keep: bool,
    ) -> Vec<Fate> {
        let versions = versions.iter().copied().collect();
        let fates = succeed(&versions, before, live, current, keep);
        fates.into_values().collect()
    }

    #[test]
    fn the_version_before_stays_resident_and_the_one_before_that_does_not() {
        let three = [(1, Standby), (2, Live), (3, Standby)];
        let after = fates(&three, Some(2), &[3], 3, false);
        assert_eq!(after, [Fate::Retire, Fate::Standby, Fate::Live]);
    }

    #[test]
    fn a_rollback_swaps_the_two() {
        let two = [(1, Standby), (2, Live)];
        let after = fates(&two, Some(2), &[1], 1, false);
        assert_eq!(after, [Fate::Live, Fate::Standby]);
    }

    #[test]
    fn the_first_version_of_a_model_just_goes_live() {
        let after = fates(&[(1, Standby), (2, Absent)], None, &[1], 1, false);
        assert_eq!(after, [Fate::Live, Fate::Same]);
    }

    #[test]
    fn asking_for_what_is_live_changes_nothing() {
        let after = fates(&[(1, Standby), (2, Live)], Some(2), &[2], 2, false);
        assert_eq!(after, [Fate::Standby, Fate::Live]);
    }

    #[test]
    fn with_several_versions_asked_for_the_others_stay() {
        let three = [(1, Live), (2, Live), (3, Standby)];
        let after = fates(&three, Some(2), &[3], 3, true);
        assert_eq!(after, [Fate::Live; 3]);
    }

    #[test]
    fn versions_that_are_not_asked_for_any_more_retire() {
        let three = [(1, Live), (2, Live), (3, Live)];
        let after = fates(&three, Some(3), &[3], 3, false);
        assert_eq!(after, [Fate::Retire, Fate::Retire, Fate::Live]);
    }
}
