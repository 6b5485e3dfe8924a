//! A small client of the HTTP API: one call, the status and the JSON that came back.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

/// Speaks to one server with one API key.
#[derive(Clone, Debug)]
pub struct ApiClient {
    base: String,
    key: String,
    subaccount: Option<u64>,
    client: reqwest::Client,
}

/// What the server answered.
#[derive(Clone, Debug)]
pub struct ApiReply {
    /// The status code.
    pub status: u16,
    /// The body; null where there is none or it is not JSON.
    pub body: Value,
}

impl ApiReply {
    /// The part under `results`.
    pub fn results(&self) -> &Value {
        &self.body["results"]
    }

    /// The `message` of the first error.
    pub fn error_message(&self) -> &str {
        self.body["errors"][0]["message"].as_str().unwrap_or_default()
    }
}

impl ApiClient {
    /// A client of the server at `base`, such as `http://127.0.0.1:8025`.
    pub fn new(base: &str, key: &str) -> Self {
        Self {
            base: base.trim_end_matches('/').to_owned(),
            key: key.to_owned(),
            subaccount: None,
            client: reqwest::Client::new(),
        }
    }

    /// The same client acting for a subaccount, by the header `X-MSYS-SUBACCOUNT`.
    #[must_use]
    pub fn for_subaccount(&self, subaccount: u64) -> Self {
        Self { subaccount: Some(subaccount), ..self.clone() }
    }

    /// The same client with another API key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), subaccount: None, ..self.clone() }
    }

    /// Calls `path` (such as `/api/v1/ip-pools`) and gives whatever comes back.
    ///
    /// # Errors
    ///
    /// When there is no HTTP answer.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<ApiReply> {
        let mut request = self
            .client
            .request(method.clone(), format!("{}{path}", self.base))
            .header("Authorization", &self.key);
        if let Some(subaccount) = self.subaccount {
            request = request.header("X-MSYS-SUBACCOUNT", subaccount.to_string());
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let reply = request.send().await.with_context(|| format!("{method} {path}"))?;
        let status = reply.status().as_u16();
        let text = reply.text().await.with_context(|| format!("{method} {path}: the body"))?;
        Ok(ApiReply { status, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
    }

    /// GET.
    ///
    /// # Errors
    ///
    /// As [`ApiClient::call`].
    pub async fn get(&self, path: &str) -> Result<ApiReply> {
        self.call(Method::GET, path, None).await
    }

    /// POST.
    ///
    /// # Errors
    ///
    /// As [`ApiClient::call`].
    pub async fn post(&self, path: &str, body: Value) -> Result<ApiReply> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// PUT.
    ///
    /// # Errors
    ///
    /// As [`ApiClient::call`].
    pub async fn put(&self, path: &str, body: Value) -> Result<ApiReply> {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// DELETE.
    ///
    /// # Errors
    ///
    /// As [`ApiClient::call`].
    pub async fn delete(&self, path: &str) -> Result<ApiReply> {
        self.call(Method::DELETE, path, None).await
    }

    /// Makes a sending domain; returns the name and the text of the TXT record to publish.
    ///
    /// # Errors
    ///
    /// When the server does not answer 200 with a key.
    pub async fn create_domain(&self, domain: &str) -> Result<(String, String)> {
        let reply = self.post("/api/v1/sending-domains", json!({ "domain": domain })).await?;
        ensure!(reply.status == 200, "create {domain}: {} {}", reply.status, reply.body);
        let dkim = &reply.results()["dkim"];
        let selector = dkim["selector"].as_str().context("the reply has no selector")?;
        let public = dkim["public"].as_str().context("the reply has no public key")?;
        let owner = format!("{selector}._domainkey.{domain}");
        Ok((owner, format!("v=DKIM1; k=rsa; h=sha256; p={public}")))
    }

    /// Clicks Verify; returns the reply's `results`.
    ///
    /// # Errors
    ///
    /// When the server does not answer 200.
    pub async fn verify_domain(&self, domain: &str) -> Result<Value> {
        let path = format!("/api/v1/sending-domains/{domain}/verify");
        let reply = self.post(&path, json!({ "dkim_verify": true })).await?;
        ensure!(reply.status == 200, "verify {domain}: {} {}", reply.status, reply.body);
        Ok(reply.results().clone())
    }
}
