//===-- FakeDeviceTests.swift - what crash and fault tests rely on ---------------------------------===//
// The device in memory, its recording, the images of crashes made from that, and planned faults. What file
// systems do with them is for the tests of BlockGroups.

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

private func ones(_ count: Int, _ value: UInt8 = 1) -> [UInt8] {
    [UInt8](repeating: value, count: count)
}

@Suite struct FakeDeviceTests {
    @Test func aGiBDeviceKeepsOnlyWhatIsWritten() throws {
        let device = MemoryDevice(byteCount: 1 << 30)
        try device.write(physical: 65_000, ones(2000))
        #expect(device.bytes(at: 64_999, 2002) == [0] + ones(2000) + [0])
        let folder = try TemporaryFolder()
        try device.save(to: folder.path("copy"))
        let copy = try fileDevice(folder.path("copy"))
        #expect(copy.byteCount == 1 << 30)
        var bytes = ones(4000, 9)
        try readWhole(&bytes, from: copy, physical: 64_000)
        #expect(bytes == device.bytes(at: 64_000, 4000))
    }

    @Test func aDeviceOverAnotherNeverChangesIt() throws {
        let below = MemoryDevice(byteCount: 1 << 20)
        try below.write(physical: 0, ones(100_000, 7))
        let above = MemoryDevice(over: below)
        try above.write(physical: 65_530, ones(10))
        #expect(above.bytes(at: 65_529, 12) == [7] + ones(10) + [7])
        #expect(below.bytes(at: 65_529, 12) == ones(12, 7))
    }

    @Test func threadsWriteTheirOwnPlacesAtOnce() {
        let device = MemoryDevice(byteCount: 1 << 20)
        let recording = Recording([device])
        defer { recording.stop() }
        DispatchQueue.concurrentPerform(iterations: 64) { index in
            device.replace(at: index * 5000, with: ones(5000, UInt8(index)))
        }
        for index in 0..<64 {
            #expect(device.bytes(at: index * 5000, 5000) == ones(5000, UInt8(index)))
        }
        #expect(recording.events.count == 64)
    }

    /// Two writes, a flush, a mark, a write that is lost or not.
    @Test func aCrashKeepsWhatWasFlushedAndAnyPartOfTheRest() throws {
        let begin = MemoryDevice(byteCount: 1 << 20)
        let device = MemoryDevice(over: begin)
        let recording = Recording([device])
        try device.write(physical: 0, ones(4096))
        try device.write(physical: 8192, ones(16384))
        try device.flush()
        recording.mark(1)
        try device.write(physical: 0, ones(4096, 2))
        recording.stop()
        try device.write(physical: 0, ones(4096, 3))

        var crashes = CrashPoints(recording, from: [begin], seed: testSeed)
        crashes.partsPerFlush = 200
        #expect(crashes.flushCount == 1)
        var before: Set<[UInt8]> = []
        var after: Set<[UInt8]> = []
        var count = 0
        try crashes.forEach { crash in
            let device = crash.devices[0]
            // One byte of every 4 KiB that were written.
            let state = [0, 8192, 12288, 16384, 20480].map { device[$0] }
            if crash.lastMark == nil { before.insert(state) } else { after.insert(state) }
            for start in [0, 8192, 12288, 16384, 20480] {
                let piece = device.bytes(at: start, 4096)
                #expect(piece.allSatisfy { $0 == piece[0] }, "torn inside a piece: \(crash.name)")
            }
            count += 1
        }
        #expect(count == 2 * 202)
        // Before the flush ends nothing is promised; the last write may only come after it.
        #expect(before.contains([0, 0, 0, 0, 0]) && before.contains([1, 1, 1, 1, 1]))
        #expect(before.contains([1, 0, 0, 0, 0]) && before.contains([0, 1, 1, 1, 1]))
        #expect(before.count > 5, "no torn writes: \(before)")
        #expect(!before.contains { $0[0] == 2 })
        #expect(after == [[1, 1, 1, 1, 1], [2, 1, 1, 1, 1]])
    }

    @Test func aFlushOfOneDeviceSaysNothingOfAnother() throws {
        let begin = [MemoryDevice(byteCount: 8192), MemoryDevice(byteCount: 8192)]
        let devices = begin.map { MemoryDevice(over: $0) }
        let recording = Recording(devices)
        defer { recording.stop() }
        for device in devices { try device.write(physical: 0, ones(4096)) }
        try devices[0].flush()
        var last: Set<[UInt8]> = []
        let crashes = CrashPoints(recording, from: begin, seed: testSeed)
        try crashes.forEach { crash in
            if crash.name.hasPrefix("event 3") { last.insert(crash.devices.map { $0[0] }) }
        }
        #expect(last == [[1, 0], [1, 1]])
    }

    @Test func thePlannedTransferFailsAndOnlyThat() throws {
        let device = MemoryDevice(byteCount: 1 << 20)
        let plan = FaultPlan([device])
        plan.fail(.write, number: 1, .noSpace)
        try device.write(physical: 0, ones(8192))
        #expect(failure { try device.write(physical: 0, ones(8192, 2)) }?.code == .noSpace)
        #expect(device[0] == 1)
        try device.write(physical: 0, ones(8192, 3))
        #expect(plan.failed == 1 && plan.count(.write) == 3)

        plan.fail(.write, number: 0, .short, lasting: true)
        #expect(failure { try device.write(physical: 0, ones(8192, 4)) }?.code == .io)
        #expect(device.bytes(at: 4095, 2) == [4, 3])
        #expect(failure { try device.write(physical: 0, ones(8192, 5)) }?.code == .io)
        plan.fail(.flush, number: 0, .io)
        #expect(failure { try device.flush() }?.code == .io)
        try device.flush()
        plan.fail(.read, number: 0, .io)
        var bytes = ones(10)
        #expect(failure { try readWhole(&bytes, from: device, physical: 0) }?.code == .io)
        plan.heal()
        try readWhole(&bytes, from: device, physical: 0)
        plan.stop()
    }
}
