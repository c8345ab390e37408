//===-- Recording.swift - the writes and flushes of a workload, in order ------------------------===//
// Takes down what MemoryDevices are made to write, so that CrashPoints can make the images that a loss
// of power could have left.
//
// Invariants:
//   1. A flush stands where it began: every write before it, on its device, is durable once it has ended;
//      a write that ended meanwhile stands after it and may be lost.
//   2. A mark stands after everything that had ended when it was made. What a mark vouches for (a
//      commit that has returned) must be in every image of a crash after it.
//
// Locks: its own mutex; may be used from any number of threads at once.

import BGDevices
import BGDiskFormat
import Foundation

/// A stream of writes and flushes to one or more devices.
package final class Recording: @unchecked Sendable {
    package enum Event {
        case write(device: Int, physical: UInt64, bytes: [UInt8])
        case flush(device: Int)
        /// Something the workload says of itself, such as the number of a commit that has returned.
        case mark(Int)
    }

    private let lock = NSLock()
    private var taken: [Event] = []
    package let devices: [MemoryDevice]

    /// Records what is written to these devices from now on. They keep it, as it keeps them, until
    /// `stop()`.
    package init(_ devices: [MemoryDevice]) {
        self.devices = devices
        for (index, device) in devices.enumerated() {
            device.recordedIndex = index
            device.recording = self
        }
    }

    package var events: [Event] { lock.withLock { taken } }

    /// The workload has come so far.
    package func mark(_ number: Int) { append(.mark(number)) }

    /// Ends the recording: the devices are ordinary ones again.
    package func stop() {
        for device in devices { device.recording = nil }
    }

    func append(_ event: Event) {
        lock.withLock { taken.append(event) }
    }
}
