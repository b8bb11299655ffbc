//! Joins and ends parts of sentences.

/// The maximum number of items in a sentence. The other items are only counted.
pub(crate) const FEW: usize = 4;

/// Returns `a, b and c`.
pub(crate) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Returns the first `most` items, and the number of the other items: `a, b and 3 more`.
pub(crate) fn first_of(items: &[String], most: usize) -> String {
    match items.len().saturating_sub(most) {
        0 => list(items),
        more => format!("{} and {more} more", items[..most].join(", ")),
    }
}

/// Returns `text` with a full stop, unless it already ends like a sentence.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

pub(crate) fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

pub(crate) fn uncapitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// Returns `1 listener` or `2 listeners`.
pub(crate) fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_the_first_and_count_the_rest() {
        let names = |count: usize| (1..=count).map(|n| n.to_string()).collect::<Vec<_>>();
        for (count, all, first) in
            [(0, "", ""), (1, "1", "1"), (2, "1 and 2", "1 and 2"), (3, "1, 2 and 3", "1, 2 and 1 more")]
        {
            assert_eq!((list(&names(count)), first_of(&names(count), 2)), (all.into(), first.into()));
        }
    }

    #[test]
    fn a_sentence_ends_once() {
        for (text, ended) in [("a", "a."), ("a. ", "a."), ("a?", "a?"), ("", ".")] {
            assert_eq!(sentence(text), ended);
        }
    }
}
