//===-- FormatTests.swift - bg_fs_format() -----------------------------------------------------------===//
// What a C caller may ask for and how it is refused; what was made is opened again. What makes a file
// system right is tested where it is made (BlockGroupsTests).

import BGTestSupport
import CBlockGroups
import Foundation
import Testing

private func formatOptions(
    _ adjust: (inout bg_format_options) -> Void = { _ in }
) -> bg_format_options {
    var options = bg_format_options()
    options.size = UInt32(MemoryLayout<bg_format_options>.size)
    adjust(&options)
    return options
}

@Suite struct FormatTests {
    let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
    }

    /// Formats new files of this folder.
    private func format(_ count: Int, _ options: bg_format_options?) -> CInt {
        let paths = (0..<count).map { strdup(folder.path("device\($0)")) }
        defer { for path in paths { free(path) } }
        let pointers = paths.map { UnsafePointer<CChar>($0) }
        guard var options else { return bg_fs_format(pointers, count, nil) }
        return bg_fs_format(pointers, count, &options)
    }

    private func open(_ count: Int) throws -> OpaquePointer {
        let paths = (0..<count).map { strdup(folder.path("device\($0)")) }
        defer { for path in paths { free(path) } }
        let pointers = paths.map { UnsafePointer<CChar>($0) }
        var fs: OpaquePointer?
        try #require(
            bg_fs_open(pointers, count, 0, &fs) == 0,
            "\(String(cString: bg_strerror(nil)))"
        )
        return try #require(fs)
    }

    @Test func whatIsMadeIsOpenedForWriting() throws {
        "a label".withCString { label in
            let options = formatOptions {
                $0.device_bytes = 150 * MiB
                $0.label = label
                $0.data_profile = UInt64(1) << 4
                $0.node_size = 8192
                $0.checksum = 2
                $0.flags = UInt32(BG_FORMAT_BLOCK_GROUP_TREE)
                $0.uuid.15 = 1
            }
            #expect(format(2, options) == 0)
        }
        let fs = try open(2)
        #expect(format(1, formatOptions { $0.device_bytes = 150 * MiB }) == -EBUSY)
        #expect(bg_fs_close(fs) == 0)
        let again = formatOptions { $0.device_bytes = 150 * MiB }
        #expect(format(1, again) == -EEXIST)
        #expect(String(cString: bg_strerror(nil)).contains("holds a btrfs file system"))
        let forced = formatOptions {
            $0.device_bytes = 150 * MiB
            $0.flags = UInt32(BG_FORMAT_OVERWRITE)
        }
        #expect(format(1, forced) == 0)
        #expect(bg_fs_close(try open(1)) == 0)
    }

    @Test func everyFieldIsChecked() throws {
        let bad: [(inout bg_format_options) -> Void] = [
            { $0.size -= 8 }, { $0.size += 8 }, { $0.flags = 8 }, { $0.reserved.3 = 1 },
            { $0.checksum = 4 }, { $0.checksum = UInt32.max }, { $0.data_profile = 1 },
            { $0.data_profile = 1 << 3 | 1 << 4 }, { $0.metadata_profile = 1 << 11 },
            { $0.metadata_profile = 1 << 4 }, { $0.node_size = 5000 },
        ]
        for adjust in bad {
            let options = formatOptions {
                $0.device_bytes = 150 * MiB
                adjust(&$0)
            }
            #expect(format(1, options) == -EINVAL)
        }
        let parity = formatOptions {
            $0.device_bytes = 150 * MiB
            $0.data_profile = 1 << 7
        }
        #expect(format(3, parity) == -EOPNOTSUPP)
        #expect(format(1, formatOptions { $0.device_bytes = MiB }) == -ENOSPC)
        #expect(format(1, nil) == -ENOENT)
        #expect(bg_fs_format(nil, 1, nil) == -EINVAL)
        #expect(format(0, nil) == -EINVAL)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path).isEmpty)
    }
}
