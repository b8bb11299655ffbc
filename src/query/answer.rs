//! Three-valued logic.

/// The answer to a question about an entry. It is `Unknown` if evidence is missing, for example because an owner is
/// hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    // The variants are ordered so that the minimum is "and" and the maximum is "or".
    No,
    Unknown,
    Yes,
}

impl Answer {
    pub(crate) fn of(yes: bool) -> Self {
        if yes { Answer::Yes } else { Answer::No }
    }

    /// Returns the answer to a question about a fact; `Unknown` if the fact is not known.
    pub(crate) fn of_known<T>(fact: Option<T>, is: impl FnOnce(T) -> bool) -> Self {
        fact.map_or(Answer::Unknown, |fact| Answer::of(is(fact)))
    }

    pub(crate) fn and(self, other: Answer) -> Answer {
        self.min(other)
    }

    pub(crate) fn or(self, other: Answer) -> Answer {
        self.max(other)
    }

    /// Combines the answers with `and`; yes if there are no answers.
    pub(crate) fn all(answers: impl IntoIterator<Item = Answer>) -> Answer {
        answers.into_iter().fold(Answer::Yes, Answer::and)
    }

    /// Combines the answers with `or`; no if there are no answers.
    pub(crate) fn any(answers: impl IntoIterator<Item = Answer>) -> Answer {
        answers.into_iter().fold(Answer::No, Answer::or)
    }

    pub(crate) fn is_yes(self) -> bool {
        self == Answer::Yes
    }

    pub(crate) fn is_no(self) -> bool {
        self == Answer::No
    }
}

impl std::ops::Not for Answer {
    type Output = Answer;

    fn not(self) -> Answer {
        match self {
            Answer::No => Answer::Yes,
            Answer::Unknown => Answer::Unknown,
            Answer::Yes => Answer::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Answer::{self, No, Unknown, Yes};

    #[test]
    fn truth_tables() {
        for (a, b, and, or) in [
            (Yes, Yes, Yes, Yes),
            (Yes, Unknown, Unknown, Yes),
            (Yes, No, No, Yes),
            (Unknown, Unknown, Unknown, Unknown),
            (Unknown, No, No, Unknown),
            (No, No, No, No),
        ] {
            assert_eq!((a.and(b), b.and(a)), (and, and), "{a:?} and {b:?}");
            assert_eq!((a.or(b), b.or(a)), (or, or), "{a:?} or {b:?}");
            assert_eq!(!(a.and(b)), (!a).or(!b), "De Morgan: {a:?} {b:?}");
        }
        assert_eq!((Answer::all([]), Answer::any([])), (Yes, No));
        assert_eq!(Answer::of_known(None::<u8>, |_| true), Unknown);
    }
}
