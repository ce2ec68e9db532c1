//! Caps of a policy beside `epsilon_max`.

use chorale_dp::{Cap, CapError, Rational};
use chorale_gate::AgentCap;
use chorale_plan::gaussian_cap;
use serde::{Deserialize, Serialize};

/// One `[[caps]]` of a policy: give it `days`, `tasks`, `across_federations` or several of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyCap {
    /// Its name, by which refusals call it: a-z, 0-9 and '-'.
    pub name: String,
    /// Names of the tasks that it covers. Default: all.
    #[serde(default)]
    pub tasks: Vec<String>,
    /// Length of its rolling window in days. Default: absent, the lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Largest ε at the policy's `delta`.
    pub epsilon_max: f64,
    /// Whether everything that this agent ever gave counts, to whatever federation. Default: each
    /// federation by itself.
    #[serde(default)]
    pub across_federations: bool,
}

/// Why a cap of a policy cannot be meant. The policy's author is to blame.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PolicyCapError {
    /// Its size.
    #[error("cap '{name}': epsilon_max must be above 0 and at most 100")]
    Epsilon {
        /// Its name.
        name: String,
    },
    /// Anything else about it.
    #[error(transparent)]
    Cap(#[from] CapError),
}

/// The caps of a policy at its δ, ascending by name.
pub(super) fn agent_caps(
    caps: &[PolicyCap],
    delta: &Rational,
) -> Result<Vec<AgentCap>, PolicyCapError> {
    let of = |own: &PolicyCap| {
        if !(own.epsilon_max > 0.0 && own.epsilon_max <= 100.0) {
            return Err(PolicyCapError::Epsilon { name: own.name.clone() });
        }
        let mut tasks = own.tasks.clone();
        tasks.sort_unstable();
        let rho = gaussian_cap(own.epsilon_max, delta);
        let cap = Cap { name: own.name.clone(), tasks, days: own.days, rho };
        Ok(AgentCap { cap, across_federations: own.across_federations })
    };
    let mut all = caps.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    all.sort_by(|a, b| a.cap.name.cmp(&b.cap.name));
    // Everything for ever is not the lifetime's own where it is over all federations together.
    let plain = |own: &AgentCap| match own.across_federations {
        true => Cap { days: own.cap.days.or(Some(1)), ..own.cap.clone() },
        false => own.cap.clone(),
    };
    Cap::check_all(&all.iter().map(plain).collect::<Vec<_>>())?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<Vec<AgentCap>, PolicyCapError> {
        #[derive(Deserialize)]
        struct File {
            caps: Vec<PolicyCap>,
        }
        let file: File = toml::from_str(text).unwrap();
        agent_caps(&file.caps, &Rational::new(1, 100_000).unwrap())
    }

    #[test]
    fn caps_are_checked_and_sorted() {
        let text = "[[caps]]\nname = \"week\"\ndays = 7\nepsilon_max = 0.5\n\
                    [[caps]]\nname = \"ever\"\nepsilon_max = 2.0\nacross_federations = true\n";
        let caps = read(text).unwrap();
        assert_eq!((caps[0].cap.name.as_str(), caps[0].across_federations), ("ever", true));
        assert_eq!((caps[1].cap.days, caps[1].across_federations), (Some(7), false));
        assert!(caps[0].cap.rho > caps[1].cap.rho);
        let error = read(&text.replace("across_federations = true", "")).unwrap_err();
        assert!(error.to_string().contains("lifetime's own"), "{error}");
        let error = read(&text.replace("= 0.5", "= 0.0")).unwrap_err();
        assert!(error.to_string().contains("'week'"), "{error}");
    }
}
