//! Why a database failed, as far as whoever asked can do something about it.
//!
//! PostgreSQL, appendix A: class 08 connections, 53 resources, 57 an operator's doing. SQLite: result
//! codes, of which the low byte is the primary one.

/// A database that is there, but not for us right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It restarts, is out of reach, has no connection left, or something else answers for it.
    Away,
    /// There is no room on its disk.
    Full,
    /// It may be read only.
    ReadOnly,
}

/// `None` for a failure that is a mistake of ours, or damage.
pub(crate) fn fault_of(error: &anyhow::Error) -> Option<Fault> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref())
        .and_then(judge)
}

fn judge(error: &sqlx::Error) -> Option<Fault> {
    match error {
        // PostgreSQL hangs up on who is in its queue when it ends; the answer missing is told as a
        // wrong one.
        sqlx::Error::Protocol(_)
        | sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Some(Fault::Away),
        sqlx::Error::Database(error) => of_code(&error.code()?),
        _ => None,
    }
}

fn of_code(code: &str) -> Option<Fault> {
    // SQLSTATE has five letters, a result code of SQLite at most four digits.
    if code.len() == 5 {
        return match (code, code.get(..2)?) {
            ("53100", _) => Some(Fault::Full),
            ("25006", _) => Some(Fault::ReadOnly),
            (_, "08" | "53" | "57") => Some(Fault::Away),
            _ => None,
        };
    }
    match code.parse::<u32>().ok()? & 0xff {
        // SQLITE_BUSY, SQLITE_LOCKED, SQLITE_IOERR, SQLITE_CANTOPEN.
        5 | 6 | 10 | 14 => Some(Fault::Away),
        // SQLITE_READONLY.
        8 => Some(Fault::ReadOnly),
        // SQLITE_FULL.
        13 => Some(Fault::Full),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_tells_what_passes_from_what_does_not() {
        for (code, fault) in [
            ("57P01", Some(Fault::Away)),
            ("08006", Some(Fault::Away)),
            ("53300", Some(Fault::Away)),
            ("53100", Some(Fault::Full)),
            ("25006", Some(Fault::ReadOnly)),
            ("23505", None),
            ("5", Some(Fault::Away)),
            ("13", Some(Fault::Full)),
            ("8", Some(Fault::ReadOnly)),
            // SQLITE_READONLY_DBMOVED, SQLITE_CONSTRAINT_UNIQUE, SQLITE_CORRUPT.
            ("1032", Some(Fault::ReadOnly)),
            ("2067", None),
            ("11", None),
            ("", None),
        ] {
            assert_eq!(of_code(code), fault, "{code}");
        }
    }
}
