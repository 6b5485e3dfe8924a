//! A message as an MTA has it when it asks a filter: client, envelope, macros, content.

use std::net::{IpAddr, Ipv4Addr};

/// One message, as the MTA got it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transaction {
    /// Who connected; `None` for a further message of the same connection.
    pub client: Option<Client>,
    /// The macros with CONNECT, such as `{daemon_name}`.
    pub connection_macros: Vec<(String, String)>,
    /// The macros with MAIL, such as `{auth_authen}`.
    pub mail_macros: Vec<(String, String)>,
    /// The macros with each RCPT.
    pub recipient_macros: Vec<(String, String)>,
    /// The macros with DATA.
    pub data_macros: Vec<(String, String)>,
    /// The macros with the end of the message.
    pub end_macros: Vec<(String, String)>,
    /// The address of MAIL FROM, without brackets.
    pub sender: String,
    /// The parameters of MAIL FROM.
    pub sender_parameters: Vec<String>,
    /// The addresses of RCPT TO, without brackets.
    pub recipients: Vec<String>,
    /// The message, with CRLF.
    pub message: Vec<u8>,
    /// Octets of a body chunk, at most 65,535.
    pub chunk: usize,
}

impl Transaction {
    /// A message of one recipient from a client at 127.0.0.1, with the macros that Postfix sends.
    pub fn new(sender: &str, recipient: &str, message: Vec<u8>) -> Self {
        let queue_id = vec![("i".to_owned(), "4c0ffee1".to_owned())];
        Self {
            client: Some(Client::default()),
            connection_macros: vec![
                ("j".to_owned(), "mta.postseal.test".to_owned()),
                ("{daemon_name}".to_owned(), "mta.postseal.test".to_owned()),
                ("v".to_owned(), "Postfix 3.7.11".to_owned()),
            ],
            mail_macros: vec![("{mail_addr}".to_owned(), sender.to_owned())],
            recipient_macros: vec![("{rcpt_addr}".to_owned(), recipient.to_owned())],
            data_macros: queue_id.clone(),
            end_macros: queue_id,
            sender: sender.to_owned(),
            sender_parameters: Vec::new(),
            recipients: vec![recipient.to_owned()],
            message,
            chunk: MAX_CHUNK,
        }
    }

    /// Adds the macros of a client that authenticated.
    #[must_use]
    pub fn authenticated_as(mut self, user: &str) -> Self {
        self.mail_macros.push(("{auth_type}".to_owned(), "PLAIN".to_owned()));
        self.mail_macros.push(("{auth_authen}".to_owned(), user.to_owned()));
        self
    }

    /// Sets `{daemon_name}`.
    #[must_use]
    pub fn through_daemon(mut self, name: &str) -> Self {
        self.connection_macros.retain(|(known, _)| known != "{daemon_name}");
        self.connection_macros.push(("{daemon_name}".to_owned(), name.to_owned()));
        self
    }
}

/// The SMTP client that CONNECT and HELO tell of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Its address; `None` for mail that came by another way than the network.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// What it said in HELO.
    pub hello: String,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            name: "localhost".to_owned(),
            address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port: 40_000,
            hello: "client.postseal.test".to_owned(),
        }
    }
}

/// Octets of a body chunk at most (`MILTER_CHUNK_SIZE`).
const MAX_CHUNK: usize = 65_535;
