//===-- FreeSpace.swift - bgctl free-space: every run that an allocator may use -------------------===//
// What the referee compares. The lists come out of the allocator's own index, so they show what it
// would hand out, not what the tree says it should.

import ArgumentParser
import BlockGroups

struct FreeSpace: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "free-space",
        abstract: "Lists every free extent that an allocator may use.",
        discussion: """
            Copies of the super block are never free. If the free space of any group cannot be \
            read, nothing is printed but the reason, and the exit status is 1.
            """
    )

    @OptionGroup var source: SourceOptions
    @OptionGroup var options: ImageOptions

    func run() throws {
        let image = try Image(options, source: source.source)
        image.learn()
        try image.requireAll()
        if options.json { try image.writeGroups(write) } else { try writeText(image) }
    }

    private func write(_ group: ImageGroup, to json: inout JSONWriter) {
        json.object { json in
            json.field("start", group.logical)
            json.field("length", group.length)
            json.field("flags", group.words)
            json.field("used", group.record.used)
            var free: UInt64 = 0
            group.forEachFree { free += $1 }
            json.field("free", free)
            json.list("free_extents") { json in
                group.forEachFree { logical, length in
                    json.array { json in
                        json.value(logical)
                        json.value(length)
                    }
                }
            }
        }
    }

    private func writeText(_ image: Image) throws {
        var output = Output()
        let style = Style(isOn: Terminal.hasColour)
        for (number, group) in image.groups.enumerated() {
            if number > 0 { output.line() }
            let numbers = group.statistics
            output.line(
                style.bold("group \(group.logical)  \(group.words)")
                    + "  \(sizeText(group.length)), \(sizeText(group.record.used)) used, "
                    + "\(sizeText(numbers.freeBytes)) free in "
                    + counted(numbers.runCount, "extent")
            )
            let width = String(group.record.end).count
            group.forEachFree { logical, length in
                let start = String(logical)
                let bytes = String(length)
                output.line(
                    String(repeating: " ", count: max(0, width - start.count) + 2) + start
                        + String(repeating: " ", count: max(0, 14 - bytes.count)) + bytes
                        + style.dim("  " + sizeText(length))
                )
            }
        }
        try output.flush()
    }
}
