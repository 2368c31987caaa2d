//! Options shared by stories and storms.

use std::time::Duration;

use evenkeel_fault::policy::{
    ActionLimit, DetectOptions, FaultOptions, Mode, Objective, ProbeKind, ProbeOptions,
    RatioOptions, RecoverOptions, RestartBackoff, SlowServerOptions, VerifyOptions,
};

/// The defaults of the product, with an HTTP probe.
pub(crate) fn options() -> FaultOptions {
    let ms = Duration::from_millis;
    FaultOptions {
        detect: DetectOptions {
            probe: ProbeOptions {
                kind: ProbeKind::Http {
                    path: "/health".to_owned(),
                    host: None,
                    expect: (200, 399),
                },
                every: ms(2_000),
                timeout: ms(1_000),
                fall: 3,
                rise: 2,
                fast: ms(250),
            },
            consecutive_failures: 5,
            failure_ratio: Some(RatioOptions {
                above: 0.1,
                window: ms(10_000),
                minimum_attempts: 20,
            }),
            slow: Some(SlowServerOptions {
                times_peers: 3.0,
                window: ms(10_000),
                minimum_attempts: 20,
                mixes_differ: false,
            }),
        },
        diagnose_timeout: ms(2_000),
        recover: RecoverOptions {
            mode: Mode::Automatic,
            keep_serving: 0.5,
            at_once: 1,
            hang_wait: ms(10_000),
            limit: ActionLimit {
                actions: 5,
                within: ms(600_000),
            },
            backoff: RestartBackoff {
                base: ms(100),
                cap: ms(60_000),
                reset_after: ms(600_000),
            },
            verify: VerifyOptions {
                probes: 3,
                every: ms(100),
                within: ms(10_000),
            },
            playbooks: Vec::new(),
        },
        objective: Some(Objective {
            availability: 0.999,
            latency: None,
            window: ms(2_592_000_000),
        }),
    }
}
