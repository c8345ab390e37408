// Random calls on files of a real image and on plain arrays (FileModel), with commits, reopening, and
// crashes, which lose what was not committed and nothing else; btrfs check after each round, and the
// kernel reads every byte back at the end. BG_SEED replays, BG_TEST_SCALE lengthens.
// Not covered: threads (FileTests), what only the kernel makes (FileKernelTests).

import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@testable import BlockGroups

@Suite(.enabled(if: Machine.hasMkfs, "needs mkfs.btrfs"), .serialized)
struct FileModelTests {
    @Test(arguments: [
        [], ["-n", "4096"], ["-O", "^no-holes"], ["--mixed", "-n", "4096"],
        ["-O", "^extref", "--csum", "xxhash"], ["-n", "65536", "-d", "dup"],
    ])
    func filesAreWhatPlainArraysAre(options: [String]) throws {
        let random = SeededGenerator.printed("files \(options)")
        let image = try MkfsImage(sizes: [1 << 30], options)
        let model = try FileModel(Filesystem(paths: image.paths, readOnly: false), random)
        for round in 0..<3 * testScale {
            try model.run(steps: 80)
            try model.compareAll()
            if round % 3 == 1 {
                model.crash()
            } else {
                try model.closeFiles()
                try model.commit()
            }
            // The devices are free once nothing holds the file system.
            model.continueOn(try Filesystem(paths: image.paths))
            try model.compareAll()
            try image.expectCleanCheck()
            model.continueOn(try Filesystem(paths: image.paths, readOnly: false))
        }
        model.continueOn(try Filesystem(paths: image.paths))
        guard Machine.canMount else { return }
        try expectKernelReads(image, model)
    }

    private func expectKernelReads(_ image: MkfsImage, _ model: FileModel) throws {
        try image.mounted { point in
            for (path, bytes) in model.contents {
                #expect(try readFile(point + path) == bytes, "\(path)")
            }
            // And it can go on: every name goes, which needs every reference back to be right.
            try run("find", [point, "-mindepth", "1", "-delete"])
        }
        try image.expectCleanCheck()
    }
}
