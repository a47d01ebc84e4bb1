//! Logic: knights, who always tell the truth, and knaves, who always lie.

use rand::Rng;
use rand::RngExt;
use rand::seq::SliceRandom;

use super::{Form, Puzzle};

const NAMES: [&str; 10] =
    ["Ada", "Bruno", "Carl", "Dora", "Emil", "Fanny", "Gaspard", "Hugo", "Iris", "Jules"];
const COUNT: usize = 5;

/// What somebody says of the others, who are named by their indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Knight(usize),
    Knave(usize),
    Alike(usize, usize),
    Different(usize, usize),
    /// So many knights among all.
    Knights(usize),
    BothKnaves(usize, usize),
    OneKnight(usize, usize),
}

impl Claim {
    fn is_true(self, knights: &[bool]) -> bool {
        match self {
            Self::Knight(a) => knights[a],
            Self::Knave(a) => !knights[a],
            Self::Alike(a, b) => knights[a] == knights[b],
            Self::Different(a, b) => knights[a] != knights[b],
            Self::Knights(count) => knights.iter().filter(|knight| **knight).count() == count,
            Self::BothKnaves(a, b) => !knights[a] && !knights[b],
            Self::OneKnight(a, b) => knights[a] || knights[b],
        }
    }

    fn words(self, names: &[&str]) -> String {
        match self {
            Self::Knight(a) => format!("{} is a knight.", names[a]),
            Self::Knave(a) => format!("{} is a knave.", names[a]),
            Self::Alike(a, b) => format!("{} and {} are of the same kind.", names[a], names[b]),
            Self::Different(a, b) => {
                format!("{} and {} are of different kinds.", names[a], names[b])
            }
            Self::Knights(count) => format!("Exactly {count} of the {COUNT} of us are knights."),
            Self::BothKnaves(a, b) => format!("{} and {} are both knaves.", names[a], names[b]),
            Self::OneKnight(a, b) => {
                format!("At least one of {} and {} is a knight.", names[a], names[b])
            }
        }
    }

    /// A claim of `speaker` about others.
    fn random(speaker: usize, random: &mut impl Rng) -> Self {
        let mut others: Vec<usize> = (0..COUNT).filter(|other| *other != speaker).collect();
        others.shuffle(random);
        let (a, b) = (others[0], others[1]);
        match random.random_range(0..8) {
            0 => Self::Knight(a),
            1 | 2 => Self::Knave(a),
            3 => Self::Alike(a, b),
            4 => Self::Different(a, b),
            5 => Self::Knights(random.random_range(1..COUNT)),
            6 => Self::BothKnaves(a, b),
            _ => Self::OneKnight(a, b),
        }
    }
}

/// Everything that the claims allow: a claim is true where its speaker is a knight.
fn worlds(claims: &[Claim]) -> Vec<Vec<bool>> {
    (0..1u32 << claims.len())
        .map(|bits| (0..claims.len()).map(|who| bits >> who & 1 == 1).collect::<Vec<bool>>())
        .filter(|knights| {
            claims.iter().zip(knights).all(|(claim, knight)| claim.is_true(knights) == *knight)
        })
        .collect()
}

/// Claims that allow one world, with knights and knaves in it.
fn claims(random: &mut impl Rng) -> (Vec<Claim>, Vec<bool>) {
    loop {
        let claims: Vec<Claim> = (0..COUNT).map(|who| Claim::random(who, random)).collect();
        if let [world] = &worlds(&claims)[..]
            && (2..COUNT).contains(&world.iter().filter(|knight| **knight).count())
        {
            let world = world.clone();
            return (claims, world);
        }
    }
}

pub(super) fn puzzle(random: &mut impl Rng) -> Puzzle {
    let mut names = NAMES;
    names.shuffle(random);
    let mut names = names[..COUNT].to_vec();
    names.sort_unstable();
    let (claims, world) = claims(random);
    let said: Vec<String> = claims
        .iter()
        .zip(&names)
        .map(|(claim, name)| format!("{name} says: \"{}\"", claim.words(&names)))
        .collect();
    let knights: Vec<&str> =
        names.iter().zip(&world).filter(|(_, knight)| **knight).map(|(name, _)| *name).collect();
    let prompt = format!(
        "On an island everybody is either a knight, who always tells the truth, or a knave, who \
         always lies. You meet {}.\n\n{}\n\nExactly one assignment of kinds is possible. Who are \
         the knights? End with one line of this form, with the names of all knights and of nobody \
         else:\nANSWER: NAME, NAME, ...",
        names.join(", "),
        said.join("\n")
    );
    Puzzle { prompt, answer: knights.join(", "), form: Form::Names(names) }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn one_world_agrees_with_everything_that_is_said() {
        for seed in 0..200 {
            let (claims, world) = claims(&mut ChaCha8Rng::seed_from_u64(seed));
            let mut possible = 0;
            for bits in 0..32u32 {
                let knights: Vec<bool> = (0..5).map(|who| bits & (1 << who) != 0).collect();
                // A knight's claim is true, a knave's is false.
                if (0..5).all(|who| claims[who].is_true(&knights) == knights[who]) {
                    possible += 1;
                    assert_eq!(knights, world);
                }
            }
            assert_eq!(possible, 1, "seed {seed}: {claims:?}");
        }
    }

    #[test]
    fn claims_mean_what_their_words_say() {
        let knights = [true, false, false, true, false];
        let is_true = |claim: Claim| claim.is_true(&knights);
        assert!(is_true(Claim::Knight(0)) && !is_true(Claim::Knight(1)));
        assert!(is_true(Claim::Knave(1)) && !is_true(Claim::Knave(0)));
        assert!(is_true(Claim::Alike(1, 2)) && !is_true(Claim::Alike(0, 1)));
        assert!(is_true(Claim::Different(0, 1)) && !is_true(Claim::Different(0, 3)));
        assert!(is_true(Claim::Knights(2)) && !is_true(Claim::Knights(3)));
        assert!(is_true(Claim::BothKnaves(1, 4)) && !is_true(Claim::BothKnaves(0, 1)));
        assert!(is_true(Claim::OneKnight(0, 1)) && !is_true(Claim::OneKnight(1, 2)));
    }
}
