//! The admin port's password. Needed where others than this machine can ask.

use std::fmt;

use ring::digest;
use subtle::ConstantTimeEq as _;

use crate::model::limits::ADMIN_TOKEN_BYTES;

/// A password that is one, shown only where it is asked for by name.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken(String);

impl AdminToken {
    /// Reads it as a file has it. `None`: too short, too long, or with blanks and signs that no
    /// header carries.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = ADMIN_TOKEN_BYTES.contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }

    /// The password itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether this is it. Takes as long whatever differs.
    pub(super) fn is(&self, presented: &str) -> bool {
        let [own, other] = [&*self.0, presented].map(hash);
        own.as_ref().ct_eq(other.as_ref()).into()
    }
}

fn hash(text: &str) -> digest::Digest {
    digest::digest(&digest::SHA256, text.as_bytes())
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_long_and_visible_and_is_not_shown() {
        let token = AdminToken::parse(&format!(" {}\n", "s3cret/+".repeat(4))).unwrap();
        assert!(token.is(&"s3cret/+".repeat(4)) && !token.is("") && !token.is("s3cret"));
        assert!(!format!("{token:?}").contains("s3cret"));
        for bad in ["", "short", &"a b".repeat(20), &"é".repeat(20), &"x".repeat(513)] {
            assert_eq!(AdminToken::parse(bad), None, "{bad}");
        }
    }
}
