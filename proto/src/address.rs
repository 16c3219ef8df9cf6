//! The connection string: where a server is, how to know it, who one is.
//!
//! ```text
//! damso://HOST[:PORT][?pin=sha256-HASH&token=TOKEN]
//!         |            |              |
//!         |            |              a JWT; a secret
//!         |            SHA-256 of a certificate's public key, base64url; else the usual roots
//!         name, IPv4, or IPv6 in brackets; port 7443 unless named
//! ```
//!
//! Unknown parameters are passed over: a later server may print more than this one.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Where a server listens unless it says otherwise.
pub const PORT: u16 = 7443;
/// Longest connection string, bytes.
pub const BYTES_MAX: usize = 8 * 1024;
/// Longest token, bytes: with room for the rest it fits into a Hello of 4 KiB.
pub const TOKEN_BYTES_MAX: usize = 3 * 1024;
const HOST_BYTES_MAX: usize = 253;
const SCHEME: &str = "damso://";
const PIN_PREFIX: &str = "sha256-";

/// A parsed connection string. Its token is never shown; see [`ConnectionString::reveal`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionString {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The key that the server's chain must contain. `None`: the usual roots decide.
    pub pin: Option<Pin>,
    /// Who one is.
    pub token: Option<Token>,
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin(pub [u8; 32]);

/// A login token. A secret: neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

/// Why a text is no connection string. Never repeats the token.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum AddressError {
    /// Something else, or nothing, before `://`.
    #[error("a connection string begins with `damso://`")]
    Scheme,
    /// Longer than [`BYTES_MAX`].
    #[error("a connection string has at most {BYTES_MAX} bytes; this one has {0}")]
    TooLong(usize),
    /// No host, or one with characters that no host has.
    #[error("`{0}` is no host: give a name, an IPv4 address, or an IPv6 address in brackets")]
    Host(String),
    /// Not 1-65535.
    #[error("`{0}` is no port: give a number from 1 to 65535")]
    Port(String),
    /// A path or a fragment.
    #[error("a connection string has no path and no `#`; expected `damso://HOST:PORT?...`")]
    Path,
    /// A name and a password before the host.
    #[error("a connection string names nobody before `@`; put the token behind `?token=`")]
    UserInfo,
    /// Not `sha256-` and 32 bytes of base64url.
    #[error("the pin must be `sha256-` and 43 characters of base64url")]
    Pin,
    /// Empty, too long, or with other characters than a token has.
    #[error("the token must be 1 to {TOKEN_BYTES_MAX} printable ASCII characters without spaces")]
    Token,
    /// The same parameter twice.
    #[error("`{0}` is given twice")]
    Twice(&'static str),
    /// `%` without two hexadecimal digits.
    #[error("`%` must be followed by two hexadecimal digits")]
    Percent,
}

impl ConnectionString {
    /// A server at `host` and `port`, known by the usual roots, for nobody yet.
    ///
    /// # Errors
    /// [`AddressError::Host`].
    pub fn new(host: &str, port: u16) -> Result<Self, AddressError> {
        Ok(Self { host: check_host(host)?, port, pin: None, token: None })
    }

    /// The same with the token in it: a secret, as it is handed to a person or a tool.
    pub fn reveal(&self) -> String {
        let token = self.token.as_ref().map(|token| format!("token={}", escape(&token.0)));
        self.write(token.as_deref())
    }

    /// The same for logs: everything but the token.
    pub fn redacted(&self) -> String {
        self.write(self.token.as_ref().map(|_| "token=(hidden)"))
    }

    /// HOST:PORT, with brackets around IPv6.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Another address of the same server, as a Welcome or a Closing names it: HOST:PORT.
    ///
    /// # Errors
    /// [`AddressError::Host`], [`AddressError::Port`].
    pub fn at(&self, authority: &str) -> Result<Self, AddressError> {
        let (host, port) = parse_authority(authority)?;
        Ok(Self { host, port, ..self.clone() })
    }

    fn write(&self, token: Option<&str>) -> String {
        let pin = self.pin.map(|pin| format!("pin={pin}"));
        let parameters: Vec<&str> = pin.as_deref().into_iter().chain(token).collect();
        let mark = if parameters.is_empty() { "" } else { "?" };
        format!("{SCHEME}{}{mark}{}", self.authority(), parameters.join("&"))
    }
}

impl FromStr for ConnectionString {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if text.len() > BYTES_MAX {
            return Err(AddressError::TooLong(text.len()));
        }
        let scheme = text.get(..SCHEME.len()).filter(|head| head.eq_ignore_ascii_case(SCHEME));
        let rest = &text[scheme.ok_or(AddressError::Scheme)?.len()..];
        if rest.contains('#') {
            return Err(AddressError::Path);
        }
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains('/') {
            return Err(AddressError::Path);
        }
        if authority.contains('@') {
            return Err(AddressError::UserInfo);
        }
        let (host, port) = parse_authority(authority)?;
        let mut parsed = Self { host, port, pin: None, token: None };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let twice = match name {
                "pin" => parsed.pin.replace(unescape(value)?.parse()?).map(|_| "pin"),
                "token" => parsed.token.replace(Token::new(&unescape(value)?)?).map(|_| "token"),
                _ => None,
            };
            if let Some(name) = twice {
                return Err(AddressError::Twice(name));
            }
        }
        Ok(parsed)
    }
}

/// Without the token; [`ConnectionString::reveal`] has it.
impl fmt::Display for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl FromStr for Pin {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let hash = text.strip_prefix(PIN_PREFIX).ok_or(AddressError::Pin)?;
        let bytes = URL_SAFE_NO_PAD.decode(hash).map_err(|_| AddressError::Pin)?;
        bytes.try_into().map(Self).map_err(|_| AddressError::Pin)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PIN_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

impl Token {
    /// Checks length and characters, not signature or time.
    ///
    /// # Errors
    /// [`AddressError::Token`].
    pub fn new(text: &str) -> Result<Self, AddressError> {
        let fits = !text.is_empty() && text.len() <= TOKEN_BYTES_MAX;
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(AddressError::Token)
        }
    }

    /// The secret itself, for Hello.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Whether this is HOST:PORT, as a Welcome or a Closing names further addresses of a server.
pub fn is_authority(text: &str) -> bool {
    text.len() <= BYTES_MAX && parse_authority(text).is_ok()
}

fn parse_authority(text: &str) -> Result<(String, u16), AddressError> {
    let bad_host = || AddressError::Host(text.into());
    let (host, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let (host, behind) = bracketed.split_once(']').ok_or_else(bad_host)?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(bad_host());
        }
        match behind.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if behind.is_empty() => (host, None),
            None => return Err(bad_host()),
        }
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err(bad_host()),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port = match port {
        None => PORT,
        Some(digits) => {
            let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
            let number = digits.parse().ok().filter(|number| plain && *number != 0);
            number.ok_or_else(|| AddressError::Port(digits.into()))?
        }
    };
    Ok((check_host(host)?, port))
}

fn check_host(host: &str) -> Result<String, AddressError> {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let fits = (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(named);
    if fits || host.parse::<std::net::Ipv6Addr>().is_ok() {
        Ok(host.to_ascii_lowercase())
    } else {
        Err(AddressError::Host(host.into()))
    }
}

/// Everything but what stands for itself in a query as `%XX`.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(byte.into());
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn unescape(value: &str) -> Result<String, AddressError> {
    let mut pieces = value.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let digits =
            piece.get(..2).filter(|two| two.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or(AddressError::Percent)?);
        bytes.extend(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_err(|_| AddressError::Percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: &str = "sha256-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    fn parse(text: &str) -> Result<ConnectionString, AddressError> {
        text.parse()
    }

    #[test]
    fn what_is_printed_is_what_is_read() {
        let texts = [
            "damso://chat.example.org:7443",
            &format!("damso://127.0.0.1:7000?pin={PIN}"),
            &format!("damso://[::1]:7443?pin={PIN}&token=eyJhbGciOiJFZERTQSJ9.e30.c2ln"),
            "damso://localhost:1?token=a%2Fb%3D",
        ];
        for text in texts {
            assert_eq!(parse(text).map(|parsed| parsed.reveal()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_port_may_be_left_out_and_case_and_blanks_do_not_matter() {
        for text in [" DAMSO://Chat.Example.org/ \n", "damso://chat.example.org?later=1"] {
            let parsed = parse(text).expect("a connection string");
            assert_eq!(parsed.authority(), "chat.example.org:7443", "{text:?}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let parsed = parse(&format!("damso://h?pin={PIN}&token=s3cret")).expect("a string");
        for shown in [format!("{parsed}"), format!("{parsed:?}"), parsed.redacted()] {
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        let refused = parse("damso://h?token=s3cret%00").expect_err("no token");
        assert!(!refused.to_string().contains("s3cret"));
    }

    #[test]
    fn a_text_that_is_none_is_refused_with_its_reason() {
        let host = |host: &str| AddressError::Host(host.into());
        let cases = [
            ("", AddressError::Scheme),
            ("https://chat.example.org", AddressError::Scheme),
            ("damso:/", AddressError::Scheme),
            ("damso://", host("")),
            ("damso://a b", host("a b")),
            ("damso://::1", host("::1")),
            ("damso://[::1", host("[::1")),
            ("damso://[nine]:1", host("[nine]:1")),
            ("damso://h:0", AddressError::Port("0".into())),
            ("damso://h:+1", AddressError::Port("+1".into())),
            ("damso://h:65536", AddressError::Port("65536".into())),
            ("damso://h/room", AddressError::Path),
            ("damso://h#x", AddressError::Path),
            ("damso://me:pw@h", AddressError::UserInfo),
            ("damso://h?pin=sha256-AAAA", AddressError::Pin),
            ("damso://h?pin=md5-AAAA", AddressError::Pin),
            ("damso://h?token=", AddressError::Token),
            ("damso://h?token=a%20b", AddressError::Token),
            ("damso://h?token=a&token=b", AddressError::Twice("token")),
            ("damso://h?token=%4", AddressError::Percent),
            ("damso://h?token=%é", AddressError::Percent),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Err(expected), "{text:?}");
        }
        assert_eq!(parse(&"x".repeat(9_000)), Err(AddressError::TooLong(9_000)));
    }

    #[test]
    fn an_alternate_keeps_pin_and_token() {
        let parsed = parse(&format!("damso://one?pin={PIN}&token=t")).expect("a string");
        let other = parsed.at("[2001:db8::2]:7444").expect("an address");
        assert_eq!(other.authority(), "[2001:db8::2]:7444");
        assert_eq!((other.pin, other.token), (parsed.pin, parsed.token));
    }
}
