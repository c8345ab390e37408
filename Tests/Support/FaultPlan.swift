//===-- FaultPlan.swift - makes the n-th transfer of a set of devices fail -----------------------===//
// Counts reads, writes and flushes over all its devices, and fails the one it is set to.
//
// Locks: its own mutex; devices may be used from any number of threads at once.

import BGDevices
import BGDiskFormat
import Foundation

/// Which transfer of some MemoryDevices fails, and how.
package final class FaultPlan: @unchecked Sendable {
    package enum Transfer: CaseIterable, Sendable {
        case read, write, flush
    }

    package enum Fault: CaseIterable, Sendable {
        /// EIO; of a write nothing arrives.
        case io
        /// ENOSPC: a sparse file on a full file system.
        case noSpace
        /// Half of it is transferred, then EIO. A flush fails whole.
        case short
    }

    private let lock = NSLock()
    private var counts: [Transfer: Int] = [:]
    private var planned: (transfer: Transfer, number: Int, fault: Fault, lasting: Bool)?
    private var done = 0
    private let devices: [MemoryDevice]

    /// Counts what these devices transfer, and fails nothing yet. The devices keep the plan, as it
    /// keeps them, until `stop()`.
    package init(_ devices: [MemoryDevice]) {
        self.devices = devices
        for device in devices { watch(device) }
    }

    /// Fails the transfer with this number, counted from 0 from now on; all that follow of its kind
    /// as well where `lasting`.
    package func fail(_ transfer: Transfer, number: Int, _ fault: Fault, lasting: Bool = false) {
        lock.withLock {
            counts = [:]
            done = 0
            planned = (transfer, number, fault, lasting)
        }
    }

    /// Nothing fails any more; counting goes on.
    package func heal() { lock.withLock { planned = nil } }

    /// Transfers since the last `fail`, or since the beginning.
    package func count(_ transfer: Transfer) -> Int { lock.withLock { counts[transfer] ?? 0 } }

    /// How many transfers were made to fail since the last `fail`.
    package var failed: Int { lock.withLock { done } }

    /// Takes its hooks off the devices.
    package func stop() {
        for device in devices {
            device.onRead = nil
            device.onWrite = nil
            device.onFlush = nil
        }
    }

    private func watch(_ device: MemoryDevice) {
        device.onRead = { [self] physical, bytes throws(FilesystemError) in
            guard let fault = next(.read) else { return }
            if fault == .short { bytes.removeLast(bytes.count / 2) }
            throw error(fault, physical)
        }
        device.onWrite = { [self, unowned device] physical, bytes throws(FilesystemError) in
            guard let fault = next(.write) else { return }
            if fault == .short {
                let half = bytes.count / 2
                device.store(physical: physical, UnsafeRawBufferPointer(rebasing: bytes[..<half]))
            }
            throw error(fault, physical)
        }
        device.onFlush = { [self] () throws(FilesystemError) in
            guard let fault = next(.flush) else { return }
            throw error(fault, nil)
        }
    }

    private func next(_ transfer: Transfer) -> Fault? {
        lock.lock()
        defer { lock.unlock() }
        let number = counts[transfer] ?? 0
        counts[transfer] = number + 1
        guard let planned, planned.transfer == transfer else { return nil }
        guard number == planned.number || planned.lasting && number > planned.number else {
            return nil
        }
        done += 1
        return planned.fault
    }

    private func error(_ fault: Fault, _ physical: UInt64?) -> FilesystemError {
        FilesystemError(
            fault == .noSpace ? .noSpace : .io,
            "device",
            "was made to fail",
            physical: physical
        )
    }
}
