//===-- FileDeviceTests.swift - devices on system calls, and the fake one ---------------------===//
// The same claims for both: what was written is read, ends are kept, failures have their codes.

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@Suite struct FileDeviceTests {
    let folder: TemporaryFolder
    let path: String

    init() throws {
        folder = try TemporaryFolder()
        path = folder.path("file")
        #expect(FileManager.default.createFile(atPath: path, contents: nil))
        try #require(FileHandle(forUpdatingAtPath: path)).truncate(atOffset: 200_000)
    }

    private func devices() throws -> [any BlockDevice] {
        let file = try path.withCString { try FileDevice(path: $0, writable: true) }
        return [file, MemoryDevice(byteCount: 200_000), MemoryDevice(over: file)]
    }

    private func read(_ device: any BlockDevice, _ at: UInt64, _ count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0xee, count: count)
        try readWhole(&bytes, from: device, physical: at)
        return bytes
    }

    private func write(_ device: any BlockDevice, _ at: UInt64, _ bytes: [UInt8]) throws {
        try bytes.withUnsafeBytes { try device.write(physical: at, from: $0) }
    }

    @Test func whatIsWrittenIsReadAcrossPages() throws {
        for device in try devices().reversed() {
            #expect(device.byteCount == 200_000)
            let bytes = (0..<70_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            try write(device, 65_000, bytes)
            try device.flush()
            #expect(try read(device, 65_000, 70_000) == bytes)
            #expect(try read(device, 64_998, 4) == [0, 0, bytes[0], bytes[1]])
            #expect(try read(device, 199_999, 1) == [0])
            #expect(try read(device, 200_000, 0) == [])
        }
    }

    /// Long aligned writes go past the page cache, the others through it: all see the same bytes.
    @Test func longAndShortWritesSeeEachOther() throws {
        let size = 4 << 20
        var random = SeededGenerator.printed("long and short writes")
        try #require(FileHandle(forUpdatingAtPath: path)).truncate(atOffset: UInt64(size))
        let device = try path.withCString { try FileDevice(path: $0, writable: true) }
        var model = [UInt8](repeating: 0, count: size)
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 2 << 20, alignment: 4096)
        defer { memory.deallocate() }
        for turn in 0..<200 {
            // Whole mebibytes, such that lie badly in memory or on the device, and short ones.
            let isLong = turn % 2 == 0
            let skip = turn % 8 == 2 ? 512 : 0
            let shift = turn % 8 == 4 ? 512 : 0
            let count = isLong ? 1 << 20 : Int.random(in: 1...9000, using: &random)
            let grain = isLong ? 4096 : 1
            let at =
                Int.random(in: 0...(size - count - shift) / grain, using: &random) * grain + shift
            let bytes = UnsafeMutableRawBufferPointer(rebasing: memory[skip..<skip + count])
            for word in 0..<count / 8 {
                bytes.storeBytes(of: random.next(), toByteOffset: word * 8, as: UInt64.self)
            }
            try device.write(physical: UInt64(at), from: UnsafeRawBufferPointer(bytes))
            model.replaceSubrange(at..<at + count, with: bytes)
            let from = max(0, at - 5000)
            let to = min(size, at + count + 5000)
            #expect(try read(device, UInt64(from), to - from) == Array(model[from..<to]))
        }
        try device.flush()
        #expect(try [UInt8](Data(contentsOf: URL(fileURLWithPath: path))) == model)
    }

    @Test func transfersPastTheEndFailWhole() throws {
        for device in try devices() {
            for at: UInt64 in [199_999, 200_000, UInt64.max - 1, UInt64.max] {
                #expect(failure { _ = try read(device, at, 2) }?.code == .io)
                #expect(failure { try write(device, at, [1, 2]) }?.code == .io)
            }
            #expect(try read(device, 199_999, 1) == [0])
        }
    }

    @Test func aFileThatShrankMeanwhileIsAnError() throws {
        let device = try path.withCString { try FileDevice(path: $0, writable: false) }
        try #require(FileHandle(forUpdatingAtPath: path)).truncate(atOffset: 1000)
        let error = failure { _ = try read(device, 0, 4096) }
        #expect(error?.code == .io && error?.errno == 5)
    }

    /// A pipe without a writer would be waited for.
    @Test(.timeLimit(.minutes(1)), arguments: [true, false])
    func whatIsNeitherAFileNorABlockDeviceIsRefusedUnopened(writable: Bool) throws {
        let pipe = folder.path("pipe")
        #expect(mkfifo(pipe, 0o600) == 0)
        for path in [pipe, folder.url.path, "/dev/null"] {
            let error = failure {
                _ = try path.withCString { try FileDevice(path: $0, writable: writable) }
            }
            #expect(error?.code == .invalidArgument)
            #expect(error?.message == "device: neither a file nor a block device")
        }
    }

    @Test func aReadOnlyFileIsNotWritten() throws {
        let device = try path.withCString { try FileDevice(path: $0, writable: false) }
        #expect(failure { try write(device, 0, [1]) }?.code == .system(9))
    }

    @Test func theFakeDeviceFailsAndFalsifiesWhereTold() throws {
        let device = MemoryDevice(byteCount: 1 << 20)
        var calls = 0
        device.onRead = { _, bytes throws(FilesystemError) in
            calls += 1
            if calls == 2 { throw FilesystemError(.io, "device", "made to fail") }
            bytes[0] ^= 1
        }
        #expect(try read(device, 0, 2) == [1, 0])
        #expect(failure { _ = try read(device, 0, 2) }?.code == .io)
        device.onWrite = { _, _ throws(FilesystemError) in
            throw FilesystemError(.io, "device", "made to fail")
        }
        #expect(failure { try write(device, 0, [1]) }?.code == .io)
        #expect(device.readCount == 2 && device.writeCount == 1 && device.flushCount == 0)
    }
}
