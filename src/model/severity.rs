//! The severity of a finding.

use super::named;

named! {
    /// The severity of a finding; the variants are in ascending order.
    pub enum Severity {
        /// Information only.
        Info = "info",
        /// Worth reading.
        Notice = "notice",
        /// The user should explain or fix this.
        Warning = "warning",
        /// Act now.
        Critical = "critical",
    }
}

impl Severity {
    /// Returns the next lower severity; `Info` for `Info`.
    #[must_use]
    pub const fn lower(self) -> Self {
        match self {
            Severity::Info | Severity::Notice => Severity::Info,
            Severity::Warning => Severity::Notice,
            Severity::Critical => Severity::Warning,
        }
    }

    /// Returns the next higher severity; `Critical` for `Critical`.
    #[must_use]
    pub const fn higher(self) -> Self {
        match self {
            Severity::Info => Severity::Notice,
            Severity::Notice => Severity::Warning,
            Severity::Warning | Severity::Critical => Severity::Critical,
        }
    }
}
