//! What the admin API says about this evenkeel itself: its configuration, and what became of it.

use serde::{Deserialize, Serialize};

/// This evenkeel.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceView {
    /// The program's version.
    pub version: String,
    /// How long it has run.
    pub uptime_seconds: f64,
    /// The configuration file; none if it was started without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The last reload, if it was refused. Gone once one succeeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_reload: Option<RefusedReload>,
    /// What was changed through the API and is not in the file.
    pub runtime_changes: Vec<RuntimeChangeView>,
}

/// A reload that was refused: what runs is what ran before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RefusedReload {
    /// When: RFC 3339.
    pub at: String,
    /// Why, in a line.
    pub reason: String,
    /// What an operator can do.
    pub advice: String,
}

/// A change that was made through the API.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeChangeView {
    /// The service.
    pub service: String,
    /// The server.
    pub server: String,
    /// `added`, `removed`, `weight` or `max-requests`.
    pub change: String,
    /// The change in words.
    pub text: String,
    /// When this server was last changed: RFC 3339.
    pub at: String,
    /// By whom, if that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Whether it holds now. One that was kept for a restart and taken back without that does not.
    pub in_force: bool,
    /// Whether it holds after a restart.
    pub kept: bool,
}

/// The effective configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigurationView {
    /// The file; none if this evenkeel was started without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Each value, with its path and where it comes from.
    pub settings: Vec<serde_json::Value>,
    /// The same as a configuration file.
    pub toml: String,
    /// What was changed through the API and is not in the file.
    pub runtime_changes: Vec<RuntimeChangeView>,
    /// The changes in force in the form in which they are stored, for `evenkeel diff`.
    pub overlay: serde_json::Value,
}
