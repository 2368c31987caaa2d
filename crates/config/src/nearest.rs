//! The known word nearest to an unknown one, for "did you mean" suggestions.

/// The candidate with the fewest typing errors between it and `word`, if that is few enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word
        .chars()
        .take(LONGEST)
        .flat_map(char::to_lowercase)
        .collect();
    let allowed = (word.len() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                distance(&word, &candidate.chars().take(LONGEST).collect::<Vec<_>>()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| {
            *distance <= allowed && *distance < candidate.chars().count()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Longer words are compared by their beginnings: the cost is quadratic.
const LONGEST: usize = 64;

/// Letters inserted, left out, replaced, or swapped with their neighbour (optimal string alignment).
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (i, &l) in left.iter().enumerate() {
        let mut current = vec![i + 1];
        for (j, &r) in right.iter().enumerate() {
            let mut cost = (previous[j] + usize::from(l != r))
                .min(previous[j + 1] + 1)
                .min(current[j] + 1);
            if i > 0 && j > 0 && l == right[j - 1] && left[i - 1] == r {
                cost = cost.min(before[j - 1] + 1);
            }
            current.push(cost);
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant_and_nothing_else() {
        let keys = ["connect", "attempt", "total", "idle"];
        assert_eq!(nearest("conect", keys), Some("connect"));
        assert_eq!(nearest("Total", keys), Some("total"));
        assert_eq!(nearest("ilde", keys), Some("idle"));
        assert_eq!(nearest("retries", keys), None);
        assert_eq!(nearest("", keys), None);
        assert_eq!(nearest("x", ["y"]), None);
    }
}
