//! The exchange of `AUTH` (RFC 4954 §4): from a mechanism and its responses to credentials.

use super::super::auth::{self, AuthError, Credentials, Password};
use super::super::command::CommandError;
use super::super::line::{Line, MAX_AUTH_LINE, first_line};
use super::super::reply::{Reply, ReplyCode};
use super::{AuthOffer, Event, Phase, Question, Session, Step};

/// Which response is next.
#[derive(Debug)]
pub(super) enum Sasl {
    Plain,
    LoginUser,
    LoginPassword { user: String },
}

impl Session {
    pub(super) fn auth<'i>(
        &mut self,
        mechanism: &str,
        initial: Option<&str>,
        out: &mut Vec<u8>,
    ) -> Option<Event<'i>> {
        if self.settings.auth == AuthOffer::Never {
            return self.fail(&CommandError::NotImplemented.reply(), out);
        }
        if !self.auth_is_open() {
            let text = "encryption required, use STARTTLS";
            return self.fail(&Reply::new(ReplyCode::ENCRYPTION_REQUIRED, (7, 11), text), out);
        }
        if !self.hello.as_ref().is_some_and(|hello| hello.extended) {
            return self.bad_sequence("send EHLO first", out);
        }
        if self.authenticated || self.transaction.is_some() {
            return self.bad_sequence("AUTH is not possible now", out);
        }
        match (mechanism, initial) {
            ("PLAIN", None) => self.challenge(Sasl::Plain, "", out),
            ("PLAIN", Some(response)) => self.response(Sasl::Plain, response, out),
            ("LOGIN", None) => self.challenge(Sasl::LoginUser, "Username:", out),
            ("LOGIN", Some(user)) => self.response(Sasl::LoginUser, user, out),
            _ => {
                let text = "the mechanisms are PLAIN and LOGIN";
                self.fail(&Reply::new(ReplyCode::PARAMETER_NOT_IMPLEMENTED, (5, 4), text), out)
            }
        }
    }

    fn challenge<'i>(&mut self, next: Sasl, text: &str, out: &mut Vec<u8>) -> Option<Event<'i>> {
        Reply::plain(ReplyCode::CHALLENGE, [auth::encode(text).as_str()]).write(out);
        self.phase = Phase::Sasl(next);
        None
    }

    /// Takes one response of the client, still in base64.
    fn response<'i>(&mut self, sasl: Sasl, line: &str, out: &mut Vec<u8>) -> Option<Event<'i>> {
        let result = match sasl {
            Sasl::Plain => Credentials::from_plain(line),
            Sasl::LoginUser => match auth::decode(line) {
                Ok(user) => return self.challenge(Sasl::LoginPassword { user }, "Password:", out),
                Err(error) => Err(error),
            },
            Sasl::LoginPassword { user } => auth::decode(line)
                .map(|password| Credentials { user, password: Password::new(password) }),
        };
        match result {
            Ok(credentials) => {
                self.phase = Phase::Question(Question::Authenticate);
                Some(Event::Authenticate(credentials))
            }
            Err(error @ (AuthError::Base64 | AuthError::Malformed)) => {
                let reply = Reply::new(ReplyCode::ARGUMENT_ERROR, (5, 2), error.to_string());
                self.fail(&reply, out)
            }
        }
    }

    pub(super) fn sasl_line<'i>(&mut self, input: &[u8], out: &mut Vec<u8>) -> Step<'i> {
        let (taken, line) = first_line(input, MAX_AUTH_LINE);
        let line = match line {
            Line::Incomplete => return Step::Wait,
            Line::TooLong => return self.too_long(input, taken, out),
            Line::Complete(line) => Some(line),
            Line::BareNewline => None,
        };
        self.completed += 1;
        let Phase::Sasl(sasl) = std::mem::replace(&mut self.phase, Phase::Command) else {
            return Step::Wait;
        };
        let event = match line.map(std::str::from_utf8) {
            None => self.fail(&CommandError::BareNewline.reply(), out),
            Some(Err(_)) => self.fail(&CommandError::NotUtf8.reply(), out),
            Some(Ok("*")) => {
                let text = "authentication cancelled";
                self.fail(&Reply::new(ReplyCode::ARGUMENT_ERROR, (7, 0), text), out)
            }
            Some(Ok(line)) => self.response(sasl, line, out),
        };
        match event {
            Some(event) => Step::Event(taken, event),
            None => Step::Taken(taken),
        }
    }
}
