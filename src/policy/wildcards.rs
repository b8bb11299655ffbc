//! Compiles a pattern with wildcards and matches texts against it; [`super::glob`] lists what the wildcards mean.
//!
//! The matcher follows all possibilities at once, so the time of a match is bounded by the product of both lengths.

/// Groups in groups beyond this depth are refused, because the compiler recurses.
const MAX_DEPTH: usize = 10;

/// One step of a compiled pattern. The numbers are positions of steps.
#[derive(Clone, Debug)]
enum Step {
    /// This byte.
    Byte(u8),
    /// One of the bytes in these ranges, or with `true` one outside them; never `/`.
    Class(bool, Vec<(u8, u8)>),
    /// Any byte.
    Any,
    /// Both steps are possible next.
    Either(usize, usize),
    Jump(usize),
}

/// A compiled pattern. A text matches if a way leads behind the last step.
#[derive(Clone, Debug)]
pub(super) struct Wildcards(Vec<Step>);

impl Wildcards {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// Returns what is wrong, without the pattern.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        let mut compiler = Compiler { pattern: pattern.as_bytes(), at: 0, steps: Vec::new() };
        compiler.sequence(0)?;
        match compiler.peek() {
            None => Ok(Wildcards(compiler.steps)),
            Some(_) => Err("unopened group; '{' is missing (write [}] for the character itself)".to_owned()),
        }
    }

    /// Returns whether the pattern matches all of `text`.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let mut current = Positions::new(self.0.len());
        let mut next = Positions::new(self.0.len());
        current.add(&self.0, 0);
        for &byte in text {
            next.clear();
            for &position in &current.steps {
                let is_match = match self.0.get(position) {
                    Some(Step::Byte(expected)) => byte == *expected,
                    Some(Step::Class(is_negated, ranges)) => {
                        let is_inside = ranges.iter().any(|&(first, last)| (first..=last).contains(&byte));
                        byte != b'/' && is_inside != *is_negated
                    }
                    Some(Step::Any) => true,
                    Some(Step::Either(..) | Step::Jump(_)) | None => false,
                };
                if is_match {
                    next.add(&self.0, position + 1);
                }
            }
            if next.steps.is_empty() {
                return false;
            }
            std::mem::swap(&mut current, &mut next);
        }
        current.is_in[self.0.len()]
    }
}

/// The steps at which a match can be at the same time.
struct Positions {
    steps: Vec<usize>,
    /// For each position, whether it is in the set.
    is_in: Vec<bool>,
    pending: Vec<usize>,
}

impl Positions {
    fn new(count: usize) -> Self {
        Positions { steps: Vec::new(), is_in: vec![false; count + 1], pending: Vec::new() }
    }

    fn clear(&mut self) {
        self.steps.clear();
        self.is_in.fill(false);
    }

    /// Adds a position, and what can be reached from it without a byte.
    fn add(&mut self, steps: &[Step], position: usize) {
        self.pending.push(position);
        while let Some(position) = self.pending.pop() {
            if std::mem::replace(&mut self.is_in[position], true) {
                continue;
            }
            match steps.get(position) {
                Some(Step::Either(first, second)) => self.pending.extend([*second, *first]),
                Some(Step::Jump(target)) => self.pending.push(*target),
                _ => self.steps.push(position),
            }
        }
    }
}

/// Translates a pattern from left to right.
struct Compiler<'a> {
    pattern: &'a [u8],
    at: usize,
    steps: Vec<Step>,
}

impl Compiler<'_> {
    fn peek(&self) -> Option<u8> {
        self.pattern.get(self.at).copied()
    }

    /// Translates up to the end, or in a group up to its next `,` or `}`.
    fn sequence(&mut self, depth: usize) -> Result<(), String> {
        let start = self.at;
        while let Some(byte) = self.peek() {
            let is_component_start = self.at == start || self.pattern[self.at - 1] == b'/';
            match byte {
                b'}' => break,
                b',' if depth > 0 => break,
                b'{' if depth == MAX_DEPTH => {
                    return Err(format!("groups are nested more than {MAX_DEPTH} deep"));
                }
                b'{' => self.group(depth + 1)?,
                b'[' => self.class()?,
                b'?' => {
                    self.at += 1;
                    self.steps.push(Step::Class(true, Vec::new()));
                }
                b'*' if is_component_start && self.is_double_star_component(depth) => self.double_star(),
                b'*' => {
                    self.at += 1;
                    self.repeat(Step::Class(true, Vec::new()));
                }
                _ => {
                    self.at += 1;
                    self.steps.push(Step::Byte(byte));
                }
            }
        }
        Ok(())
    }

    /// Returns whether `**` and then the end of a component follow.
    fn is_double_star_component(&self, depth: usize) -> bool {
        let rest = &self.pattern[self.at..];
        rest.starts_with(b"**")
            && match rest.get(2) {
                None | Some(b'/') => true,
                Some(byte) => depth > 0 && matches!(byte, b',' | b'}'),
            }
    }

    /// Translates `**` at the end, or `**/`, which also matches no component at all.
    fn double_star(&mut self) {
        self.at += 2;
        if self.peek() != Some(b'/') {
            return self.repeat(Step::Any);
        }
        self.at += 1;
        let branch = self.steps.len();
        self.steps.push(Step::Either(branch + 1, 0));
        self.repeat(Step::Any);
        self.steps.push(Step::Byte(b'/'));
        self.steps[branch] = Step::Either(branch + 1, self.steps.len());
    }

    /// Adds any number of what `step` matches.
    fn repeat(&mut self, step: Step) {
        let start = self.steps.len();
        self.steps.extend([Step::Either(start + 1, start + 3), step, Step::Jump(start)]);
    }

    /// Translates `{a,b}`.
    fn group(&mut self, depth: usize) -> Result<(), String> {
        let mut ends = Vec::new();
        while self.peek() != Some(b'}') || ends.is_empty() {
            // Behind `{` or `,`.
            self.at += 1;
            let branch = self.steps.len();
            self.steps.push(Step::Either(branch + 1, 0));
            self.sequence(depth)?;
            if self.peek().is_none() {
                return Err("unclosed group; '}' is missing (write [{] for the character itself)".to_owned());
            }
            ends.push(self.steps.len());
            self.steps.push(Step::Jump(0));
            self.steps[branch] = Step::Either(branch + 1, self.steps.len());
        }
        self.at += 1;
        // Nothing follows the last alternative, so that the way from its branch leads nowhere.
        self.steps.push(Step::Class(false, Vec::new()));
        let end = self.steps.len();
        for jump in ends {
            self.steps[jump] = Step::Jump(end);
        }
        Ok(())
    }

    /// Translates `[abc]`, `[a-z]` or `[!a]`. A `]` that comes first, and a `-` at either end, are the characters
    /// themselves.
    fn class(&mut self) -> Result<(), String> {
        self.at += 1;
        let is_negated = matches!(self.peek(), Some(b'!' | b'^'));
        self.at += usize::from(is_negated);
        let length = self.pattern[self.at..].iter().skip(1).position(|&byte| byte == b']');
        let Some(length) = length else {
            return Err(
                "unclosed character class; ']' is missing (write [[] for the character itself)".to_owned()
            );
        };
        let content = &self.pattern[self.at..=self.at + length];
        self.at += length + 2;
        if !content.is_ascii() {
            return Err("only ASCII characters are allowed between brackets".to_owned());
        }
        if content.windows(2).any(|pair| pair == b"[:") {
            return Err("named classes such as [:alpha:] are not supported (write the characters)".to_owned());
        }
        let mut ranges = Vec::new();
        let mut rest = content;
        while let [first, after @ ..] = rest {
            let (last, after) = match after {
                [b'-', last, after @ ..] => (last, after),
                _ => (first, after),
            };
            if last < first {
                return Err(format!(
                    "invalid range; '{}' is after '{}'",
                    char::from(*first),
                    char::from(*last)
                ));
            }
            ranges.push((*first, *last));
            rest = after;
        }
        self.steps.push(Step::Class(is_negated, ranges));
        Ok(())
    }
}
