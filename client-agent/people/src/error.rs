//! How this program reports trouble: what happened, where, and what to do about it.

use std::{error::Error, fmt};

/// An error that a store administrator can act on.
pub trait Explain: Error + Send + Sync + 'static {
    /// Where it happened: a file, a line, a row, an agent. Never personal data.
    fn place(&self) -> String;
    /// What to do about it, as one sentence.
    fn remedy(&self) -> String;
}

/// Any [`Explain`]ed error on its way to the terminal.
pub struct Failure(Box<dyn Explain>);

impl Failure {
    /// The error inside.
    #[must_use]
    pub fn explained(&self) -> &(dyn Explain + 'static) {
        self.0.as_ref()
    }
}

impl<E: Explain> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The message, its causes, the place and the remedy, a line each.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", indented(&self.0.to_string()))?;
        let mut said = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // A wrapper that repeats its source word for word adds nothing.
            if !said.contains(&text) {
                writeln!(f, "because: {}", indented(&text))?;
            }
            said = text;
            cause = error.source();
        }
        writeln!(f, "where: {}", self.0.place())?;
        write!(f, "what to do: {}", self.0.remedy())
    }
}

/// A `Debug` that shows nothing: for what belongs to one person and must never reach a log.
#[macro_export]
macro_rules! redacted {
    ($($name:ty),+ $(,)?) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    )+};
}
pub use redacted;

/// Several lines, the later ones set in.
fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the shop is closed")]
    struct Closed(#[source] std::io::Error);

    impl Explain for Closed {
        fn place(&self) -> String {
            "Main Street".into()
        }
        fn remedy(&self) -> String {
            "come back tomorrow".into()
        }
    }

    #[test]
    fn every_part_is_printed_once() {
        let failure = Failure::from(Closed(std::io::Error::other("no key")));
        assert_eq!(
            failure.to_string(),
            "error: the shop is closed\nbecause: no key\nwhere: Main Street\n\
             what to do: come back tomorrow"
        );
    }
}
