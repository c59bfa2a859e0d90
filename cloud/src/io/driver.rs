//! Who runs the machines of desktops. Every driver passes the same suite, in `driver/tests.rs`.
//!
//! A call may be given up half-way and made again, and the service may be killed at any moment:
//! whatever a driver has done it finds again by itself.

use anyhow::Result;
use protocol::Secret;
use protocol::id::InstanceId;

use crate::lifecycle::{Generation, Machine, Size};

/// A machine to bring up.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) instance: InstanceId,
    pub(crate) generation: Generation,
    pub(crate) size: Size,
    /// What its agent host shows to signalling.
    pub(crate) credential: Secret,
}

pub(crate) trait Driver: Send + Sync + 'static {
    /// What there is of a desktop.
    fn inspect(&self, instance: &InstanceId) -> impl Future<Output = Result<Machine>> + Send;

    /// Ends what is left of other generations, brings up what is missing of this one, and starts its
    /// agent host afresh: whatever else runs on the desktop goes on.
    fn start(&self, start: Start) -> impl Future<Output = Result<()>> + Send;

    /// Ends every process of the desktop; its files stay.
    fn stop(&self, instance: &InstanceId) -> impl Future<Output = Result<()>> + Send;

    /// Ends everything and deletes every file.
    fn destroy(&self, instance: &InstanceId) -> impl Future<Output = Result<()>> + Send;

    /// The end of what its parts logged, for whoever looks for the cause of an error.
    fn log(&self, instance: &InstanceId) -> impl Future<Output = Result<String>> + Send;

    /// Ends the processes of desktops that nobody knows; their files stay, for they may be somebody's.
    fn end_strangers(&self, known: &[InstanceId]) -> impl Future<Output = Result<()>> + Send;
}

#[cfg(test)]
pub(crate) mod tests;
