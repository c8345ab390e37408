// Making file systems: every profile, node size and checksum on devices in memory, held against the
// checker and opened for writing; what is refused and left alone; what an interrupted format leaves.
//
// Not here: the kernel and btrfs check on what was made (FormatRefereeTests).

import BGTestSupport
import BGDevices
import BGDiskFormat
import Foundation
import BGTestSupport
import Testing

@testable import BlockGroups

private let mebibyte: UInt64 = 1 << 20

private func memory(_ count: Int, _ bytes: UInt64 = 200 << 20) -> [MemoryDevice] {
    (0..<count).map { _ in MemoryDevice(byteCount: bytes) }
}

/// The faults that the checker finds, as lines.
private func faults(_ devices: [any BlockDevice]) throws -> [String] {
    let lines = Lines()
    let summary = try Filesystem.check(
        Volume(devices: devices),
        CheckOptions(verifiesData: true, readsAllCopies: true),
        { _ in true },
        { lines.all.append($0.message) }
    )
    #expect(summary.isComplete)
    return lines.all
}

private final class Lines {
    var all: [String] = []
}

struct FormatCase: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let deviceCount: Int
    let options: FormatOptions

    init(_ name: String, _ count: Int, _ adjust: (inout FormatOptions) -> Void) {
        testDescription = name
        deviceCount = count
        var options = FormatOptions()
        adjust(&options)
        self.options = options
    }

    static let profiles: [FormatCase] = {
        let each: [(Profile, Int)] = [
            (.single, 1), (.dup, 1), (.single, 2), (.dup, 2), (.raid0, 1), (.raid0, 3), (.raid1, 2),
            (.raid1, 3), (.raid1c3, 3), (.raid1c4, 4), (.raid10, 2), (.raid10, 4),
        ]
        return each.map { profile, count in
            FormatCase("\(profile) on \(count)", count) {
                $0.dataProfile = profile
                $0.metadataProfile = profile
                $0.hasBlockGroupTree = count % 2 == 0
            }
        }
    }()

    static let shapes: [FormatCase] = {
        var cases = [
            FormatCase("defaults", 1) { _ in }, FormatCase("defaults on two", 2) { _ in },
            FormatCase("mixed", 1) { $0.isMixed = true },
            FormatCase("mixed raid1", 2) {
                $0.isMixed = true
                $0.metadataProfile = .raid1
            },
        ]
        for nodeSize: UInt32 in [4096, 8192, 16384, 32768, 65536] {
            for hasTree in [false, true] {
                cases.append(
                    FormatCase("nodes of \(nodeSize), block-group tree \(hasTree)", 1) {
                        $0.nodeSize = nodeSize
                        $0.hasBlockGroupTree = hasTree
                    }
                )
            }
        }
        for type in ChecksumType.allCases {
            cases.append(FormatCase("\(type)", 1) { $0.checksumType = type })
        }
        return cases
    }()

    static let all = profiles + shapes
}

@Suite struct FormatTests {
    @Test(arguments: FormatCase.all)
    func whatIsMadeHasNoFaultsAndCanBeWritten(_ made: FormatCase) throws {
        let devices = memory(made.deviceCount)
        let summary = try Filesystem.format(devices: devices, made.options)
        #expect(try faults(devices) == [])
        #expect(summary.devices.map(\.devid) == (1...made.deviceCount).map { UInt64($0) })
        #expect(summary.totalBytes == UInt64(made.deviceCount) * 200 * mebibyte)

        let volume = try Volume(devices: devices)
        #expect(volume.warnings.isEmpty)
        #expect(volume.superBlock.generation == 1 && volume.superBlock.fsid == summary.uuid)
        let filesystem = try Filesystem(volume, readOnly: false)
        var file = try OrphanFile(filesystem, inode: 300)
        for _ in 0..<10 { try file.append(filesystem, bytes: pattern(7, count: 100 << 10)) }
        try filesystem.commit()
        #expect(try faults(devices) == [])
    }

    @Test func theDefaultsAreThoseOfMkfs() throws {
        let one = try Filesystem.format(devices: memory(1))
        #expect(one.chunks.map(\.flags) == [.system | .dup, .metadata | .dup, .data])
        #expect(one.nodeSize == 16384 && one.checksumType == .crc32c && !one.hasBlockGroupTree)
        let two = try Filesystem.format(devices: memory(2))
        #expect(two.chunks.map(\.flags) == [.system | .raid1, .metadata | .raid1, .data])
        var mixed = FormatOptions()
        mixed.isMixed = true
        let small = try Filesystem.format(devices: memory(1), mixed)
        #expect(small.chunks.map(\.flags) == [.system, .data | .metadata])
        #expect(small.nodeSize == 4096 && small.isMixed)
    }

    @Test func labelAndUUIDAreKept() throws {
        let devices = memory(2)
        var options = FormatOptions()
        options.label = Array(String(repeating: "ü", count: 127).utf8)
        options.uuid = FilesystemUUID("01234567-89AB-cdef-0123-456789abcdef")
        try Filesystem.format(devices: devices, options)
        let volume = try Volume(devices: devices)
        #expect(volume.superBlock.label == options.label)
        #expect(volume.superBlock.fsid.text == "01234567-89ab-cdef-0123-456789abcdef")
        #expect(volume.devices[0].uuid != volume.devices[1].uuid)
    }

    @Test func wishesThatCannotBeMetAreRefused() throws {
        func refusal(
            _ count: Int,
            _ code: FilesystemError.Code = .invalidArgument,
            _ adjust: (inout FormatOptions) -> Void
        ) -> String {
            let devices = memory(count)
            var options = FormatOptions()
            adjust(&options)
            let words = expectRefusal(code) { () throws(FilesystemError) in
                try Filesystem.format(devices: devices, options)
            }
            #expect(devices.allSatisfy { $0.writeCount == 0 })
            return words
        }
        let profile = refusal(2) { $0.dataProfile = .raid1c3 }
        #expect(profile == "data profile: needs 3 devices, 2 given")
        #expect(refusal(1) { $0.metadataProfile = .raid1 }.hasPrefix("metadata profile"))
        for parity in [Profile.raid5, .raid6] {
            _ = refusal(4, .unsupported) { $0.dataProfile = parity }
        }
        for nodeSize: UInt32 in [0, 2048, 12288, 131_072] {
            #expect(refusal(1) { $0.nodeSize = nodeSize }.hasPrefix("node size"))
        }
        _ = refusal(1) {
            $0.isMixed = true
            $0.nodeSize = 16384
        }
        _ = refusal(2) {
            $0.isMixed = true
            $0.dataProfile = .single
            $0.metadataProfile = .raid1
        }
        #expect(refusal(1) { $0.label = [UInt8](repeating: 65, count: 256) }.hasPrefix("label"))
        #expect(refusal(1) { $0.label = [65, 10] }.hasPrefix("label"))
        _ = refusal(0) { _ in }
    }

    @Test func theSmallestDevicesWorkAndSmallerOnesAreRefused() throws {
        for made in FormatCase.all {
            let choice = try FormatChoice(made.options, deviceCount: made.deviceCount)
            let devices = memory(made.deviceCount, FirstChunks.deviceBytesMin(choice))
            let summary = try Filesystem.format(devices: devices, made.options)
            #expect(summary.chunks.count == (made.options.isMixed ? 2 : 3), "\(made)")
            #expect(try faults(devices) == [], "\(made)")
            let filesystem = try Filesystem(Volume(devices: devices), readOnly: false)
            var file = try OrphanFile(filesystem, inode: 300)
            try file.append(filesystem, bytes: pattern(7, count: 1 << 20))
            try filesystem.commit()
        }
    }

    @Test func anInterruptedFormatLeavesNoFileSystemOrAllOfIt() throws {
        let whole = memory(1)
        try Filesystem.format(devices: whole)
        let writes = whole[0].writeCount
        #expect(writes > 4)
        // Clearing the two super blocks comes first: before that is done, the older one is whole.
        for failing in 3...writes + 2 {
            let devices = memory(1)
            try Filesystem.format(devices: devices)
            var count = 0
            var superBlocks = 0
            devices[0].onWrite = { physical, _ throws(FilesystemError) in
                count += 1
                if count >= failing { throw FilesystemError(.io, "device", "made to fail") }
                if physical == 64 << 10 { superBlocks += 1 }
            }
            expectRefusal(.io) { () throws(FilesystemError) in
                try Filesystem.format(devices: devices)
            }
            devices[0].onWrite = nil
            if superBlocks == 0 {
                expectRefusal(.invalidArgument) { () throws(FilesystemError) in
                    _ = try Volume(devices: devices)
                }
            } else {
                // All of it but for the second super block.
                let found = try faults(devices)
                #expect(found.count == 1 && found[0].contains("super block"), "\(found)")
            }
        }
    }

    @Test func noCopyOfAnOlderSuperBlockIsLeft() throws {
        let devices = memory(1)
        try Filesystem.format(devices: devices)
        var options = FormatOptions()
        options.deviceBytes = 60 << 20
        let summary = try Filesystem.format(devices: devices, options)
        var bytes = [UInt8](repeating: 0xee, count: 4096)
        try readWhole(&bytes, from: devices[0], physical: 64 << 20)
        #expect(bytes.allSatisfy { $0 == 0 })
        let volume = try Volume(devices: devices)
        #expect(volume.superBlock.fsid == summary.uuid && volume.warnings.isEmpty)
        #expect(try faults(devices) == [])
    }
}

@Suite struct FormatFileTests {
    let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
    }

    private func path(_ name: String) -> String { folder.path(name) }

    private func make(_ name: String, _ bytes: UInt64, _ content: [(UInt64, [UInt8])] = []) throws {
        #expect(FileManager.default.createFile(atPath: path(name), contents: nil))
        let file = try #require(FileHandle(forUpdatingAtPath: path(name)))
        try file.truncate(atOffset: bytes)
        for (offset, content) in content {
            try file.seek(toOffset: offset)
            try file.write(contentsOf: content)
        }
        try file.close()
    }

    private func sized(
        _ megabytes: UInt64,
        _ adjust: (inout FormatOptions) -> Void = { _ in }
    ) -> FormatOptions {
        var options = FormatOptions()
        options.deviceBytes = megabytes * mebibyte
        adjust(&options)
        return options
    }

    @Test func filesAreMadeAndMadeLonger() throws {
        try make("short", 1 << 20)
        try make("long", 300 << 20)
        let paths = [path("new"), path("short"), path("long")]
        let summary = try Filesystem.format(paths: paths, sized(100))
        #expect(summary.devices.map(\.byteCount) == Array(repeating: 100 * mebibyte, count: 3))
        let sizes = try paths.map {
            try FileManager.default.attributesOfItem(atPath: $0)[.size] as? UInt64
        }
        #expect(sizes == [100 << 20, 100 << 20, 300 << 20])
        let filesystem = try Filesystem(paths: paths, readOnly: false)
        expectRefusal(.busy) { () throws(FilesystemError) in
            try Filesystem.format(paths: [paths[0]], sized(100))
        }
        try filesystem.close()
    }

    @Test func whatADeviceHoldsIsKeptUnlessForced() throws {
        let contents: [(String, UInt64, [UInt8])] = [
            ("ext", 1080, [0x53, 0xef]), ("xfs", 0, Array("XFSB".utf8)),
            ("LUKS", 0, Array("LUKS".utf8) + [0xba, 0xbe]), ("GPT", 512, Array("EFI PART".utf8)),
            ("swap", 4086, Array("SWAPSPACE2".utf8)), ("partition table", 510, [0x55, 0xaa]),
            ("btrfs", 65600, Array("_BHRfS_M".utf8)), ("LVM", 512, Array("LABELONE".utf8)),
            ("hfs+", 1024, Array("H+".utf8)), ("apfs", 32, Array("NXSB".utf8)),
            ("udf", 32769, Array("BEA01".utf8)), ("minix", 1048, [0x5a, 0x4d]),
            ("cramfs", 0, [0x45, 0x3d, 0xcd, 0x28]), ("bfs", 0, [0xce, 0xfa, 0xad, 0x1b]),
            ("refs", 0, [0, 0, 0] + Array("ReFS".utf8) + [0]),
            ("gfs2", 65536, [1, 0x16, 0x19, 0x70]), ("BitLocker", 3, Array("-FVE-FS-".utf8)),
        ]
        for (name, offset, bytes) in contents {
            try make(name, 100 << 20, [(offset, bytes)])
            let before = try readFile(path(name))
            let words = expectRefusal(.exists) { () throws(FilesystemError) in
                try Filesystem.format(paths: [path("other"), path(name)], sized(100))
            }
            #expect(words.contains("device=1") && words.contains(name), "\(words)")
            #expect(try readFile(path(name)) == before)
            #expect(!FileManager.default.fileExists(atPath: path("other")))
            try Filesystem.format(paths: [path(name)], sized(100) { $0.overwrites = true })
            let volume = try Volume.open(paths: [path(name)])
            #expect(volume.warnings.isEmpty && volume.superBlock.generation == 1)
            try FileManager.default.removeItem(atPath: path(name))
        }
    }

    @Test func whatIsRefusedIsNotMade() throws {
        try make("small", 10 << 20)
        try make("device", 100 << 20)
        try FileManager.default.createSymbolicLink(
            atPath: path("link"),
            withDestinationPath: path("device")
        )
        let small = expectRefusal(.noSpace) { () throws(FilesystemError) in
            try Filesystem.format(paths: [path("small")])
        }
        #expect(small.contains("device=0") && small.contains("10485760 bytes is too small"))
        for twice in [[path("device"), path("link")], [path("new"), path("new")]] {
            let words = expectRefusal(.invalidArgument) { () throws(FilesystemError) in
                try Filesystem.format(paths: twice, sized(100))
            }
            #expect(words == "device: device=1, is the same device as device 0")
        }
        expectRefusal(.invalidArgument) { () throws(FilesystemError) in
            var options = FormatOptions()
            options.deviceBytes = 1 << 63
            try Filesystem.format(paths: [path("new"), path("other")], options)
        }
        expectRefusal(.notFound) { () throws(FilesystemError) in
            try Filesystem.format(paths: [path("new")])
        }
        // Found out only when it is made.
        expectRefusal(.notFound) { () throws(FilesystemError) in
            try Filesystem.format(paths: [path("new"), path("no folder/new")], sized(100))
        }
        #expect(!FileManager.default.fileExists(atPath: path("new")))
        expectRefusal(.invalidArgument) { () throws(FilesystemError) in
            try Filesystem.format(paths: [folder.url.path])
        }
    }
}
