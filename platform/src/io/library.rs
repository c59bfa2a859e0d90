//! Libraries that a machine may lack: opened at run time, and named with their package if absent.

use std::ffi::{CStr, c_void};

/// A library, loaded for the life of the process.
#[derive(Clone, Copy, Debug)]
pub struct Library {
    handle: *mut c_void,
    name: &'static CStr,
}

/// One sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Missing(String);

impl Library {
    /// # Errors
    ///
    /// [`Missing`], which names `package`, the one Debian has it in.
    pub fn open(name: &'static CStr, package: &str) -> Result<Self, Missing> {
        // SAFETY: the name ends with NUL. What these libraries run when they are loaded touches
        // nothing of ours.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(Missing(format!(
                "{} is not installed (Debian: apt-get install {package})",
                name.to_string_lossy()
            )));
        }
        Ok(Self { handle, name })
    }

    /// # Errors
    ///
    /// [`Missing`]: another version, without that function.
    ///
    /// # Safety
    ///
    /// `F` is a function pointer of the type the library's header declares for `name`.
    pub unsafe fn function<F: Copy>(&self, name: &CStr) -> Result<F, Missing> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: the handle is of dlopen, the name ends with NUL.
        let address = unsafe { libc::dlsym(self.handle, name.as_ptr()) };
        if address.is_null() {
            return Err(Missing(format!(
                "{} has no function {}",
                self.name.to_string_lossy(),
                name.to_string_lossy()
            )));
        }
        // SAFETY: as large as a pointer, and of the type the caller vouches for.
        Ok(unsafe { std::mem::transmute_copy(&address) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_named_with_its_package() {
        let missing = Library::open(c"libnowhere.so.0", "libnowhere0").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "libnowhere.so.0 is not installed (Debian: apt-get install libnowhere0)"
        );
    }
}
