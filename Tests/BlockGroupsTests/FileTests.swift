// Files, one claim at a time: what is inline, what happens to open files that are removed, links in
// numbers, extents in thousands, claims that are attached, threads.
// Not covered: long random histories (FileModelTests), files that the kernel made (FileKernelTests).

import BGDiskFormat
import BGTestSupport
import Foundation
import Synchronization
import Testing

@testable import BlockGroups

extension Filesystem {
    func write(_ path: FilePath, _ bytes: [UInt8]) throws {
        try bytes.withUnsafeBytes { try createFile(path, contents: $0) }
    }

    func contents(_ path: FilePath) throws -> [UInt8] {
        let file = try openFile(path)
        let bytes = try file.allBytes()
        try file.close()
        return bytes
    }
}

extension File {
    func put(_ bytes: [UInt8], at offset: UInt64) throws {
        try bytes.withUnsafeBytes { try write(at: offset, from: $0) }
    }

    func allBytes() throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0xaa, count: Int(try metadata.size))
        let count = try bytes.withUnsafeMutableBytes { try read(at: 0, into: $0) }
        #expect(count == bytes.count)
        return bytes
    }
}

@Suite(.enabled(if: Machine.hasMkfs, "needs mkfs.btrfs"))
struct FileTests {
    private func extents(_ filesystem: Filesystem, _ inode: UInt64) throws -> [FileExtent] {
        try filesystem.readFiles { files throws(FilesystemError) in
            try files.extents(of: inode, from: 0, to: .max)
        }
    }

    @Test func aSmallFileIsInlineUntilItGrows() throws {
        let image = try MkfsImage(sizes: [256 << 20])
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        let file = try filesystem.createFile("/a")
        try file.put(pattern(1, count: 1000), at: 0)
        #expect(try extents(filesystem, file.inodeNumber).map(\.item.kind) == [.inline])
        #expect(try file.metadata.allocatedBytes == 1000)
        try file.put(pattern(2, count: 1048), at: 1000)
        #expect(try extents(filesystem, file.inodeNumber).map(\.item.kind) == [.inline])
        try file.put([7], at: 2048)
        #expect(try extents(filesystem, file.inodeNumber).map(\.item.kind) == [.regular])
        #expect(try file.metadata.allocatedBytes == 4096)
        let expected = pattern(1, count: 1000) + pattern(2, count: 1048) + [7]
        #expect(try file.allBytes() == expected)
        // A hole between what was inline and what comes far behind.
        try filesystem.write("/b", [1, 2, 3])
        let other = try filesystem.openFile("/b")
        try other.put([9], at: 1 << 20)
        #expect(
            try other.allBytes() == [1, 2, 3] + [UInt8](repeating: 0, count: (1 << 20) - 3) + [9]
        )
        try other.close()
        try file.close()
        try filesystem.close()
        try image.expectCleanCheck()
    }

    @Test func aRemovedFileKeepsItsDataUntilItIsClosed() throws {
        let image = try MkfsImage(sizes: [256 << 20])
        let bytes = pattern(3, count: 100_000)
        var filesystem: Filesystem? = try Filesystem(paths: image.paths, readOnly: false)
        try filesystem!.write("/a", bytes)
        try filesystem!.write("/b", bytes)
        var file: File? = try filesystem!.openFile("/a")
        let second = try filesystem!.openFile("/a")
        try filesystem!.removeFile("/a")
        expectRefusal(.notFound) { () throws(FilesystemError) in
            _ = try filesystem!.metadata(of: "/a")
        }
        try filesystem!.commit()
        #expect(try file!.allBytes() == bytes)
        try second.close()
        #expect(try file!.metadata.linkCount == 0)
        try file!.put([1], at: 0)
        #expect(try Array(file!.allBytes().dropFirst()) == Array(bytes.dropFirst()))
        try image.expectCleanCheck()
        // A crash: the inode is there, without a name, until somebody writes.
        let number = file!.inodeNumber
        let crashed = image.paths[0] + ".crashed"
        try FileManager.default.copyItem(atPath: image.paths[0], toPath: crashed)
        try file!.close()
        file = nil
        #expect(throws: FilesystemError.self) { try second.allBytes() }
        try filesystem!.close()
        filesystem = nil
        try image.expectCleanCheck()
        let other = try Filesystem(paths: [crashed], readOnly: false)
        let there = try other.readFiles { files throws(FilesystemError) in try files.inode(number) }
        #expect(there.linkCount == 0)
        try other.makeDirectory("/d")
        #expect(throws: FilesystemError.self) {
            try other.readFiles { files throws(FilesystemError) in try files.inode(number) }
        }
        #expect(try other.contents("/b") == bytes)
        try other.close()
        try run("btrfs", ["check", crashed])
    }

    @Test func thousandsOfLinksNeedExtendedReferences() throws {
        let image = try MkfsImage(sizes: [256 << 20], ["-n", "4096"])
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        try filesystem.write("/a", [1])
        func name(_ number: Int) -> FilePath {
            FilePath("/" + String(repeating: "long", count: 40) + "\(number)")
        }
        for number in 0..<200 { try filesystem.makeHardLink(name(number), to: "/a") }
        #expect(try filesystem.metadata(of: "/a").linkCount == 201)
        try filesystem.commit()
        try image.expectCleanCheck()
        for number in 0..<200 where number % 2 == 0 { try filesystem.removeFile(name(number)) }
        #expect(try filesystem.metadata(of: "/a").linkCount == 101)
        try filesystem.removeFile("/a")
        #expect(try filesystem.contents(name(1)) == [1])
        try filesystem.close()
        try image.expectCleanCheck()
    }

    @Test func withoutExtendedReferencesLinksEnd() throws {
        let image = try MkfsImage(sizes: [256 << 20], ["-n", "4096", "-O", "^extref"])
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        try filesystem.write("/a", [1])
        var made = 1
        var refusal: FilesystemError?
        while refusal == nil, made < 100 {
            let name = "/" + String(repeating: "long", count: 40) + "\(made)"
            do throws(FilesystemError) {
                try filesystem.makeHardLink(FilePath(name), to: "/a")
                made += 1
            } catch {
                refusal = error
            }
        }
        #expect(refusal?.errno == 31)
        #expect(try filesystem.metadata(of: "/a").linkCount == UInt32(made))
        try filesystem.close()
        try image.expectCleanCheck()
    }

    @Test func aFileOfThousandsOfExtentsIsShortenedAndRemovedInPieces() throws {
        let image = try MkfsImage(sizes: [512 << 20])
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        let file = try filesystem.createFile("/many")
        let other = try filesystem.createFile("/other")
        let count = FileChange.partsPerChange + 100
        // Two files in turn, so that no extent is next to the one before it.
        for number in 0..<count {
            try file.put(
                [UInt8](repeating: UInt8(number & 255), count: 4096),
                at: UInt64(number) * 8192
            )
            if number % 7 == 0 {
                try other.put([UInt8](repeating: 1, count: 4096), at: UInt64(number) * 4096)
            }
        }
        try filesystem.commit()
        try file.truncate(to: 8192 * 3 + 100)
        #expect(try file.metadata.allocatedBytes == 4 * 4096)
        #expect(try extents(filesystem, file.inodeNumber).count == 4)
        for number in 0..<count {
            try file.put(
                [UInt8](repeating: UInt8(number & 255), count: 4096),
                at: UInt64(number) * 8192
            )
        }
        try file.close()
        try filesystem.removeFile("/many")
        try other.close()
        try filesystem.close()
        try image.expectCleanCheck()
    }

    @Test func aFileThatMayOnlyGrowIsNotChangedBeforeItsEnd() throws {
        let device = MemoryDevice(byteCount: 256 << 20)
        try Filesystem.format(devices: [device])
        let filesystem = try openFilesystem([device], readOnly: false)
        let file = try filesystem.createFile("/log")
        let bytes = pattern(7, count: 16384)
        try file.write(at: 0, bytes)
        try filesystem.changeFiles { (_) throws(FilesystemError) in
        } apply: { (change, _: Void) throws(FilesystemError) in
            try change.updateInode(file.inodeNumber) { $0.flags |= InodeItem.flagAppend }
        }
        let extent = try filesystem.claimData(length: 4096).commit()
        try filesystem.write(extent.logical, Array(bytes[..<4096]))
        let notPermitted = FilesystemError.Code.system(Errno.notPermitted)
        expectRefusal(notPermitted) { () throws(FilesystemError) in
            try file.write(at: 16383, [1, 2])
        }
        expectRefusal(notPermitted) { () throws(FilesystemError) in
            try file.write(at: 8192, length: 65536) { (_, _) throws(FilesystemError) in }
        }
        expectRefusal(notPermitted) { () throws(FilesystemError) in try file.truncate(to: 1) }
        expectRefusal(notPermitted) { () throws(FilesystemError) in
            try file.attach(extent, at: 12288)
        }
        #expect(try file.contents() == bytes)
        try file.attach(extent, at: 16384)
        try file.write(at: 20480, [9])
        try file.truncate(to: 30_000)
        #expect(
            try file.contents() == bytes + bytes[..<4096] + [9] + Array(repeating: 0, count: 9519)
        )
        try file.close()
        try filesystem.close()
        #expect(try faults([device]) == [])
    }

    @Test func anAttachedExtentIsTheFilesAndARefusedOneIsGivenBack() throws {
        let image = try MkfsImage(sizes: [256 << 20])
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        let file = try filesystem.createFile("/a")
        try file.put(pattern(4, count: 20_000), at: 0)
        let bytes = pattern(5, count: 16384)
        let claim = try filesystem.claimData(length: 16384)
        let logical = claim.logical
        try bytes.withUnsafeBytes { try filesystem.write(logical: logical, from: $0) }
        try file.attach(claim, at: 8192)
        let expected = Array(pattern(4, count: 8192)) + bytes
        #expect(try file.allBytes() == Array(pattern(4, count: 20_000)[..<8192]) + bytes)
        #expect(expected.count == 24576)
        let group = try #require(filesystem.allocator.group(at: logical))
        let before = group.statistics.claimedBytes
        let refused = try filesystem.claimData(length: 8192)
        do throws(FilesystemError) {
            try file.attach(refused, at: 100)
            Issue.record("not refused")
        } catch {
            #expect(error.code == .invalidArgument)
        }
        #expect(group.statistics.claimedBytes == before)
        // What a tree owns is nobody's to attach again.
        expectRefusal(.busy) { () throws(FilesystemError) in
            try file.attach(Extent(logical: logical, length: 16384), at: 0)
        }
        try file.close()
        try filesystem.close()
        try image.expectCleanCheck()
    }

    /// The mistake is the caller's, and costs him no more than the call.
    @Test func anExtentAttachedToTwoFilesAtOnceIsTheFirsts() throws {
        let device = MemoryDevice(byteCount: 256 << 20)
        let filesystem = try makeFilesystem(device)
        let files = try ["/a", "/b"].map { try filesystem.createFile(FilePath($0)) }
        let extent = try filesystem.claimData(length: 8192).commit()
        // The trees are in memory then, and only data is read. What nobody wrote is read for its checksums:
        // when the second one has looked whose it is, and holds no lock but its file's.
        try filesystem.checkClaim(extent)
        let isFirst = Atomic<Bool>(true)
        let results = Atomic<Int>(0)
        device.onRead = { (_, _) throws(FilesystemError) in
            guard isFirst.exchange(false, ordering: .relaxed) else { return }
            let done = DispatchSemaphore(value: 0)
            Thread {
                do throws(FilesystemError) {
                    try files[0].attach(extent, at: 0)
                    results.add(1, ordering: .relaxed)
                } catch {
                    print("the first: \(error.message)")
                }
                done.signal()
            }.start()
            done.wait()
        }
        expectRefusal(.busy) { () throws(FilesystemError) in
            try files[1].attach(extent, at: 4096)
        }
        device.onRead = nil
        #expect(results.load(ordering: .relaxed) == 1)
        #expect(filesystem.failure == nil)
        #expect(try files.map { try $0.metadata.size } == [8192, 0])
        for file in files { try file.close() }
        try filesystem.close()
        #expect(try faults([device]) == [])
    }

    @Test func attributesComeBack() throws {
        let image = try MkfsImage(sizes: [256 << 20])
        var filesystem = try Filesystem(paths: image.paths, readOnly: false)
        let time = FileTime(seconds: -10, nanoseconds: 5)
        let attributes = FileAttributes(
            permissions: 0o4711,
            owner: 12,
            group: 34,
            accessTime: time,
            modificationTime: FileTime(seconds: 1 << 33),
            creationTime: time
        )
        try filesystem.makeDirectory("/d", attributes)
        try filesystem.makeSpecialFile("/d/pipe", .fifo)
        try filesystem.makeSpecialFile("/d/null", .characterDevice, device: 0x103, attributes)
        try filesystem.makeSymbolicLink("/d/link", to: [UInt8]("there".utf8), attributes)
        try filesystem.write("/d/a", [])
        try filesystem.setAttributes(of: "/d/a", attributes)
        try filesystem.setExtendedAttribute([UInt8]("user.x".utf8), of: "/d/a", to: [1, 2])
        expectRefusal(.invalidArgument) { () throws(FilesystemError) in
            try filesystem.makeDirectory("/e", FileAttributes(permissions: 0o10000))
        }
        try filesystem.close()
        try image.expectCleanCheck()
        filesystem = try Filesystem(paths: image.paths)
        for path in ["/d/a", "/d/null", "/d/link"] as [FilePath] {
            let metadata = try filesystem.metadata(of: path)
            #expect(metadata.permissions == 0o4711)
            #expect(metadata.owner == 12 && metadata.group == 34)
            #expect(metadata.accessTime == time && metadata.creationTime == time)
            #expect(metadata.modificationTime == FileTime(seconds: 1 << 33))
        }
        #expect(try filesystem.metadata(of: "/d/null").device == 0x103)
        #expect(try filesystem.metadata(of: "/d/pipe").kind == .fifo)
        #expect(try filesystem.metadata(of: "/d").size == 2 * (4 + 4 + 4 + 1))
        #expect(try filesystem.symbolicLinkTarget(of: "/d/link") == [UInt8]("there".utf8))
        #expect(try filesystem.extendedAttributeNames(of: "/d/a") == [[UInt8]("user.x".utf8)])
        expectRefusal(.readOnly) { () throws(FilesystemError) in
            try filesystem.makeDirectory("/e")
        }
    }

    @Test func pathsThatCannotBeAreRefused() throws {
        let image = try MkfsImage(sizes: [256 << 20])
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        try filesystem.write("/a", [1])
        try filesystem.makeSymbolicLink("/link", to: [UInt8]("a".utf8))
        func refusal(_ path: FilePath) -> CInt? {
            do throws(FilesystemError) {
                _ = try filesystem.openFile(path)
                return nil
            } catch {
                return error.errno
            }
        }
        #expect(refusal("//./a") == nil)
        #expect(refusal("/../a") == 22)
        #expect(refusal("/b") == 2)
        #expect(refusal("/a/b") == 20)
        #expect(refusal("/") == 21)
        #expect(refusal("/link") == 40)
        #expect(refusal(FilePath(bytes: [0x2f, 0x61, 0])) == 22)
        #expect(refusal(FilePath(String(repeating: "x", count: 256))) == 36)
        expectRefusal(.exists) { () throws(FilesystemError) in try filesystem.makeDirectory("/") }
        // Nothing of that changed anything.
        try filesystem.close()
        try image.expectCleanCheck()
    }

    @Test(.timeLimit(.minutes(5)))
    func fourThreadsWriteWhileAFifthCommits() throws {
        let image = try MkfsImage(sizes: [1 << 30])
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        let shared = try filesystem.createFile("/shared")
        let filesEach = 60 * testScale
        let failures = Atomic<Int>(0)
        let running = Atomic<Int>(4)
        let threads = (0..<5).map { number in
            Thread {
                do {
                    if number == 4 {
                        while running.load(ordering: .acquiring) > 0 { try filesystem.commit() }
                        return
                    }
                    defer { running.subtract(1, ordering: .releasing) }
                    try filesystem.makeDirectory(FilePath("/\(number)"))
                    for index in 0..<filesEach {
                        let size = index % 5 == 0 ? 300_000 : index * 97
                        let seed = UInt64(number * 1000 + index)
                        let path = FilePath("/\(number)/\(index)")
                        try filesystem.write(path, pattern(seed, count: size))
                        try shared.put(
                            [UInt8](repeating: UInt8(number), count: 4096),
                            at: UInt64(4 * index + number) * 4096
                        )
                        if index % 3 == 2 { try filesystem.removeFile(path) }
                    }
                } catch {
                    print("thread \(number): \((error as? FilesystemError)?.message ?? "\(error)")")
                    failures.add(1, ordering: .relaxed)
                }
            }
        }
        for thread in threads {
            thread.stackSize = 4 << 20
            thread.start()
        }
        while threads.contains(where: { !$0.isFinished }) { usleep(10_000) }
        #expect(failures.load(ordering: .relaxed) == 0)
        let bytes = try shared.allBytes()
        for index in 0..<4 * filesEach {
            #expect(bytes[index * 4096] == UInt8(index % 4))
        }
        for number in 0..<4 {
            for index in 0..<filesEach where index % 3 != 2 {
                let size = index % 5 == 0 ? 300_000 : index * 97
                let expected = Array(pattern(UInt64(number * 1000 + index), count: size))
                #expect(try filesystem.contents(FilePath("/\(number)/\(index)")) == expected)
            }
        }
        try shared.close()
        try filesystem.close()
        try image.expectCleanCheck()
    }
}
