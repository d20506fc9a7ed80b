//! Pinning this process to one core.

use std::io;

pub fn pin_to(core: usize) -> Result<(), String> {
    let bits = 8 * size_of::<libc::cpu_set_t>();
    if core >= bits {
        return Err(format!(
            "core {core} is out of range: it must be below {bits}"
        ));
    }
    // SAFETY: cpu_set_t is a plain array of integers, for which zero is a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` is below the number of bits in the set, as checked above.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` lives through the call and its true size is passed; 0 means this thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
    if result != 0 {
        return Err(format!(
            "cannot pin to core {core}: {}",
            io::Error::last_os_error()
        ));
    }
    Ok(())
}
