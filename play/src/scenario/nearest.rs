//! The nearest of the words that would have been right.

/// The number of letters to insert, remove, replace or swap (Damerau–Levenshtein, restricted) to turn one into the
/// other.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().flat_map(char::to_lowercase).collect();
    let other: Vec<char> = other.chars().flat_map(char::to_lowercase).collect();
    let mut table = vec![vec![0; other.len() + 1]; one.len() + 1];
    for (row, line) in table.iter_mut().enumerate() {
        line[0] = row;
    }
    table[0] = (0..=other.len()).collect();
    for row in 1..=one.len() {
        for column in 1..=other.len() {
            let change = usize::from(one[row - 1] != other[column - 1]);
            let mut best = (table[row - 1][column] + 1)
                .min(table[row][column - 1] + 1)
                .min(table[row - 1][column - 1] + change);
            if row > 1 && column > 1 && one[row - 1] == other[column - 2] && one[row - 2] == other[column - 1] {
                best = best.min(table[row - 2][column - 2] + 1);
            }
            table[row][column] = best;
        }
    }
    table[one.len()][other.len()]
}

/// The nearest of `known` to `word`.
pub fn of<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known.iter().copied().min_by_key(|candidate| distance(word, candidate))
}

/// `: did you mean "x"?` with the rest of what is known, for the end of an error.
pub fn hint(word: &str, known: &[&str]) -> String {
    let near = of(word, known).filter(|candidate| distance(word, candidate) <= candidate.len().max(word.len()) / 2);
    let list = known.join(", ");
    match near {
        Some(near) => format!("; did you mean {near:?}? (known: {list})"),
        None => format!(" (known: {list})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_the_one_meant() {
        assert_eq!(of("workloads", &["workload", "network", "faults"]), Some("workload"));
        assert_eq!(of("crahs", &["crash", "pause", "restart"]), Some("crash"));
        assert_eq!(hint("zzz", &["crash"]), " (known: crash)");
    }
}
