//! The result in words where a sweep chose its launches and too few configurations have enough
//! of them for a claim.

use super::spoken;
use crate::results::reading::{FewLaunches, Statement};

/// The sentences; `None` of any other result.
pub(super) fn sentence(result: &Statement) -> Option<String> {
    let Statement::NoClaim { candidate, baseline, few, needed, unclaimed, of } = result else {
        return None;
    };
    let best = format!("Best estimate: {}.", spoken::name_of(candidate));
    Some(match (baseline, few.as_slice()) {
        (Some(baseline), [_, ..]) => {
            let few: Vec<String> = few.iter().map(launched).collect();
            format!(
                "No gain over {} is claimed: {}, and a claim needs {needed} launches. {best}",
                spoken::name_of(baseline),
                few.join(", ")
            )
        }
        _ => format!(
            "No order is claimed: {unclaimed} of {of} configurations were launched fewer than \
             {needed} times. {best}"
        ),
    })
}

/// `production was launched twice`.
fn launched(few: &FewLaunches) -> String {
    let times = match few.launches {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        times => format!("{times} times"),
    };
    format!("{} was launched {times}", spoken::name_of(&few.configuration))
}
