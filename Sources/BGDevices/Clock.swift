//===-- Clock.swift - the time of day -----------------------------------------------------------===//
// What inodes are stamped with.

internal import CShim

/// The time of day.
package enum Clock {
    /// Seconds since 1970, and nanoseconds from 0 to 999,999,999 to be added to them.
    package static func now() -> (seconds: Int64, nanoseconds: UInt32) {
        var nanoseconds: UInt32 = 0
        let seconds = unsafe bgs_realtime(&nanoseconds)
        return (seconds, nanoseconds)
    }
}
