//===-- Map.swift - bgctl map: the groups as a picture --------------------------------------------===//

import ArgumentParser
import BGDevices
import BlockGroups

struct Map: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Draws the block groups and the free space inside them.",
        discussion: """
            Each strip is a block group, from its first byte on the left to its last. In the \
            terminal the height of a block says how full that part of the group is; colour is used \
            on a terminal unless NO_COLOR is set. With --output the picture is written as SVG, \
            sharp at any size, without a script or a link in it.
            """
    )

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("Write an SVG picture to this file instead.", valueName: "file.svg"),
        completion: .file(extensions: ["svg"])
    )
    var output: String?

    @Flag(help: "In the terminal, a row for each group however many there are.")
    var rows = false

    @OptionGroup var source: SourceOptions
    @OptionGroup var options: ImageOptions

    /// Cells of each group in JSON.
    private static let jsonCells = 64

    func run() throws {
        let image = try Image(options, source: source.source)
        if let output, let file = FileID(output), FileID.ofFiles(image.paths).contains(file) {
            throw Failure("\(output): is the image itself; the picture needs another file")
        }
        image.learn()
        if let output {
            try writeFile(SVGMap(image).text(), path: output)
            if !options.json { say("wrote \(output)") }
        }
        if options.json {
            try image.writeGroups(write)
        } else if output == nil {
            var out = Output()
            TerminalMap(image, width: Terminal.width, style: Style(isOn: Terminal.hasColour))
                .write(to: &out, wantsRows: rows)
            try out.flush()
        }
        try image.failIfIncomplete()
    }

    private func write(_ group: ImageGroup, to json: inout JSONWriter) {
        json.object { json in
            json.field("start", group.logical)
            json.field("length", group.length)
            json.field("flags", group.words)
            json.field("used", group.record.used)
            if let failure = group.failure {
                json.field("error", failure)
                return
            }
            let coverage = Coverage(group, cells: Map.jsonCells)
            json.list("cell_free_bytes") { json in
                for bytes in coverage.free { json.value(bytes) }
            }
            json.list("super_copies") { json in
                for copy in group.record.superBlockCopies {
                    json.array { json in
                        json.value(copy.logical)
                        json.value(copy.length)
                    }
                }
            }
        }
    }
}
