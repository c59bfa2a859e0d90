//! An attempt to sign in, from the door until its outcome is known: counted at once where somebody
//! failed before, and otherwise only if it fails.

use signalling::io::unix_now;

use super::{Identity, Refusal, locked};
use crate::identity::Email;
use crate::identity::lockout::Place;
use crate::io::problems;

/// Under way. Whoever goes away before its outcome is known hears nothing of it either.
pub(super) struct Attempt<'a> {
    identity: &'a Identity,
    email: &'a Email,
    place: Place,
    counted: bool,
}

impl Identity {
    /// Lets somebody try.
    ///
    /// # Errors
    ///
    /// `ACCOUNT_LOCKED` if too many tries failed from there.
    pub(super) async fn attempt<'a>(
        &'a self,
        email: &'a Email,
        place: Place,
    ) -> Result<Attempt<'a>, Refusal> {
        // First this, then the look: what ended before it was counted before it.
        let counted = !locked(&self.0.uncounted).begin(email, place);
        let mut attempt = Attempt {
            identity: self,
            email,
            place,
            counted,
        };
        let store = self.store();
        let known = store.find_failures(email, place).await?;
        let mut wait = known.and_then(|known| known.wait(unix_now()));
        if wait.is_none() && (counted || known.is_some()) {
            attempt.end();
            wait = store.count_attempt(email, place, unix_now()).await?;
        }
        match wait {
            Some(wait) => Err(problems::account_locked(wait).into()),
            None => Ok(attempt),
        }
    }
}

impl Attempt<'_> {
    /// To be waited for before anybody is told.
    pub(super) async fn failed(self) -> anyhow::Result<()> {
        if self.counted {
            return Ok(());
        }
        let store = self.identity.store();
        store
            .count_failure(self.email, self.place, unix_now())
            .await
    }

    pub(super) async fn succeeded(self) -> anyhow::Result<()> {
        if !self.counted {
            return Ok(());
        }
        let store = self.identity.store();
        store.forget_attempts(self.email, self.place).await
    }

    fn end(&mut self) {
        if !self.counted {
            locked(&self.identity.0.uncounted).end(self.email, self.place);
            self.counted = true;
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
