//===-- ExclusiveTests.swift - who may open a device for writing ----------------------------------===//
// Locks of files, loop devices over them, mounts of them. The part with loop devices and mounts
// needs root, loop devices and btrfs-progs, and is skipped elsewhere.

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

private func open(_ path: String, writable: Bool = true) throws -> FileDevice {
    try path.withCString { try FileDevice(path: $0, writable: writable) }
}

private func create(_ path: String, _ bytes: UInt64) throws -> FileDevice {
    try path.withCString { try FileDevice(creating: $0, byteCount: bytes) }
}

@Suite struct ExclusiveTests {
    let folder: TemporaryFolder
    let path: String

    init() throws {
        folder = try TemporaryFolder()
        path = folder.path("a file \\ of blanks")
    }

    @Test func aFileIsWrittenByOneAtATime() throws {
        var first: FileDevice? = try create(path, 1 << 20)
        let error = failure { _ = try open(path) }
        #expect(error?.code == .busy)
        #expect(error?.message == "device: is open for writing already")
        let reader = try open(path, writable: false)
        #expect(first!.isSame(as: reader))
        first = nil
        first = try open(path)
        #expect(failure { _ = try open(path) }?.code == .busy)
    }

    @Test func aNewFileIsAHoleOfTheSizeAskedFor() throws {
        let device = try create(path, 1 << 40)
        #expect(device.byteCount == 1 << 40)
        let values = try URL(fileURLWithPath: path).resourceValues(forKeys: [
            .fileSizeKey, .totalFileAllocatedSizeKey,
        ])
        #expect(values.fileSize == 1 << 40)
        #expect(values.totalFileAllocatedSize! < 1 << 20)
        #expect(failure { _ = try create(path, 4096) }?.code == .exists)
        try device.resize(to: 1 << 41)
        #expect(device.byteCount == 1 << 41)
        let other = try create(folder.path("other"), 4096)
        #expect(!device.isSame(as: other))
    }

    @Test func aFolderIsNoDevice() throws {
        #expect(failure { _ = try open(folder.url.path) }?.code == .invalidArgument)
        #expect(failure { _ = try open(path) }?.code == .notFound)
    }

    @Test(.enabled(if: Machine.canMount, "no right to mount, or no btrfs-progs"))
    func whatALoopDeviceOrAMountUsesIsBusy() throws {
        do { _ = try create(path, 256 << 20) }
        try run("mkfs.btrfs", ["-q", "-f", path])
        try withLoopDevices([path]) { loops in
            let loop = loops[0]
            #expect(failure { _ = try open(path) }?.message == "device: is in use by a loop device")
            // The loop device itself is free until it is mounted.
            do {
                let device = try open(loop)
                #expect(device.byteCount == 256 << 20)
                #expect(failure { _ = try open(loop) }?.code == .busy)
            }
            try withMount([loop], at: folder.path("mount")) { _ in
                let mounted = failure { _ = try open(loop) }
                #expect(mounted?.code == .busy && mounted?.message == "device: is mounted")
                #expect(failure { _ = try open(path) }?.code == .busy)
            }
        }
    }
}
