//! Reads configurations: the only place that provides `config` with its text, its directories and the resolver for host
//! names.

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use evenkeel_config::plan::{LogFormat, LogLevel, LogPlan};
use evenkeel_config::{Diagnostics, Environment, Loaded, Plan, Settings, Severity, render};

use crate::file_state::FileState;
use crate::logging;
use crate::output::{self, CommandFailure, Result};
use crate::place::state_directory;

/// The plan of the file at `path`; its warnings are said.
pub(crate) fn read(path: &Path) -> Result<Loaded> {
    accept(load(path)?)
}

/// The effective settings of the file at `path`; its warnings are said.
pub(crate) fn settings(path: &Path) -> Result<Settings> {
    let text = read_text(path)?;
    let loaded = accept(load_file(&text, path))?;
    Ok(Settings::of(
        &text,
        &path.display().to_string(),
        &loaded.plan,
    ))
}

/// The file that a configuration comes from.
#[derive(Debug, Clone)]
pub(crate) struct ConfigurationFile {
    /// Its absolute path: reloads read it again.
    pub(crate) path: PathBuf,
    /// What it was before it was read.
    pub(crate) read: Option<FileState>,
}

impl ConfigurationFile {
    /// This file, which is about to be read: a change from now on is not missed.
    pub(crate) fn of(path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self {
            read: FileState::of(&path),
            path,
        }
    }
}

/// A configuration that was read.
#[derive(Debug)]
pub(crate) struct ReadFile {
    /// Its plan.
    pub(crate) plan: Plan,
    /// Its effective settings.
    pub(crate) settings: Settings,
}

/// The file at `path`, while evenkeel runs: warnings are logged, mistakes are for whoever asked.
///
/// # Errors
/// Why it cannot be used, in words that may have several lines.
pub(crate) fn read_again(path: &Path) -> std::result::Result<ReadFile, String> {
    let text = read_text(path).map_err(CommandFailure::into_text)?;
    let loaded = load_file_with_settings(&text, path);
    let (loaded, settings) = loaded.map_err(|mistakes| {
        let name = mistakes.name();
        let said = render::human(&mistakes, render::Style::default());
        let count = output::count(mistakes.errors(), "mistake");
        let mut errors = mistakes.list().iter();
        let first = errors.find(|one| one.severity() == Severity::Error);
        let first = first.map_or_else(String::new, |first| {
            let (line, _) = mistakes.position(first.span.start);
            format!("; line {line}: {}", first.message)
        });
        format!("{name} cannot be used: {count}{first}\n{said}")
    })?;
    for warning in loaded.warnings.list() {
        let (line, _) = loaded.warnings.position(warning.span.start);
        tracing::warn!(file = loaded.warnings.name(), line, "{}", warning.message);
    }
    Ok(ReadFile {
        plan: loaded.plan,
        settings,
    })
}

/// The file at `path`, to compare it; its warnings are said.
pub(crate) fn read_to_compare(path: &Path) -> Result<ReadFile> {
    let text = read_text(path)?;
    let plan = accept(load_file(&text, path))?.plan;
    let settings = Settings::of(&text, &path.display().to_string(), &plan);
    Ok(ReadFile { plan, settings })
}

/// The settings that a running evenkeel gives as text, whose relative paths begin where those of the file at `path` do.
pub(crate) fn running_settings(text: &str, path: &Path) -> Result<Settings> {
    let loaded = load_file(text, path).map_err(|_| {
        let why = "the running configuration cannot be read here: this program is of another version, or a name cannot be resolved";
        CommandFailure::World(why.to_owned())
    })?;
    Ok(Settings::of(text, "running", &loaded.plan))
}

/// The file at `path`, to serve it: logging is started as the file asks, before anything is said about it.
pub(crate) fn read_to_serve(path: &Path) -> Result<ReadFile> {
    let text = read_text(path)?;
    let plan = start_log_and_accept(load_file(&text, path))?;
    let settings = Settings::of(&text, &path.display().to_string(), &plan);
    Ok(ReadFile { plan, settings })
}

/// A configuration that is not in a file, to serve it: as [`read_to_serve`].
pub(crate) fn parse_to_serve(text: &str, name: &str, state: &Path) -> Result<ReadFile> {
    let plan = start_log_and_accept(load_text(text, name, Path::new("."), state))?;
    let settings = Settings::of(text, name, &plan).from_command_line();
    Ok(ReadFile { plan, settings })
}

/// A configuration that is not in a file.
pub(crate) fn parse(text: &str, name: &str, state: &Path) -> Result<ReadFile> {
    let plan = accept(load_text(text, name, Path::new("."), state))?.plan;
    let settings = Settings::of(text, name, &plan);
    Ok(ReadFile { plan, settings })
}

/// The plan of the file at `path`, or its diagnostics.
pub(crate) fn load(path: &Path) -> Result<std::result::Result<Loaded, Diagnostics>> {
    Ok(load_file(&read_text(path)?, path))
}

fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        let shown = path.display();
        match error.kind() {
            ErrorKind::NotFound => CommandFailure::Call(format!("there is no file {shown}")),
            _ => CommandFailure::Call(format!("cannot read {shown}: {error}")),
        }
    })
}

fn load_file(text: &str, path: &Path) -> std::result::Result<Loaded, Diagnostics> {
    let name = path.display().to_string();
    with_environment(&folder_of(path), &state_directory(), |around| {
        evenkeel_config::load(text, &name, around)
    })
}

fn load_file_with_settings(
    text: &str,
    path: &Path,
) -> std::result::Result<(Loaded, Settings), Diagnostics> {
    let name = path.display().to_string();
    with_environment(&folder_of(path), &state_directory(), |around| {
        evenkeel_config::load_with_settings(text, &name, around)
    })
}

fn folder_of(path: &Path) -> PathBuf {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::path::absolute(folder).unwrap_or_else(|_| PathBuf::from(folder))
}

fn load_text(
    text: &str,
    name: &str,
    base_dir: &Path,
    state_dir: &Path,
) -> std::result::Result<Loaded, Diagnostics> {
    with_environment(base_dir, state_dir, |around| {
        evenkeel_config::load(text, name, around)
    })
}

fn with_environment<R>(
    base_dir: &Path,
    state_dir: &Path,
    load: impl FnOnce(&Environment<'_>) -> R,
) -> R {
    load(&Environment {
        base_dir,
        state_dir,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        // It is raised as far as that when serving begins.
        descriptors: evenkeel_runtime::descriptors::hard_limit(),
        resolver: &resolve,
        socket: &evenkeel_runtime::socket_file::check_socket,
    })
}

fn resolve(host_and_port: &str) -> std::result::Result<Vec<SocketAddr>, String> {
    host_and_port
        .to_socket_addrs()
        .map(Iterator::collect)
        .map_err(|error| error.to_string())
}

fn start_log_and_accept(loaded: std::result::Result<Loaded, Diagnostics>) -> Result<Plan> {
    match &loaded {
        Ok(loaded) => logging::start(&loaded.plan.log)?,
        // A log collector that reads JSON gets the diagnostics as JSON, too.
        Err(mistakes) => {
            if evenkeel_config::log_format(mistakes.text()) == Some(LogFormat::Json) {
                logging::start(&LogPlan {
                    format: LogFormat::Json,
                    level: LogLevel::Info,
                    access: false,
                })?;
            }
        }
    }
    accept(loaded).map(|loaded| loaded.plan)
}

fn accept(loaded: std::result::Result<Loaded, Diagnostics>) -> Result<Loaded> {
    let style = render::Style {
        colour: output::error_colours(),
        ..render::Style::default()
    };
    match loaded {
        Ok(loaded) => {
            if !loaded.warnings.is_empty() && !logging::log_diagnostics(&loaded.warnings) {
                logging::print_message(render::human(&loaded.warnings, style));
            }
            Ok(loaded)
        }
        Err(mistakes) => {
            if !logging::log_diagnostics(&mistakes) {
                logging::print_message(render::human(&mistakes, style));
            }
            let name = mistakes.name();
            Err(CommandFailure::World(format!(
                "{name} cannot be used: {}",
                output::count(mistakes.errors(), "mistake")
            )))
        }
    }
}
