// The built bgctl as a user runs it, and images of mkfs.btrfs to run it on.

import BGTestSupport
import Foundation
import Testing

extension Outcome {
    /// Standard output as JSON.
    func json() throws -> [String: Any] {
        let value = try JSONSerialization.jsonObject(with: Data(output.utf8))
        return try #require(value as? [String: Any])
    }
}

enum Program {
    static let path = Machine.bgctl

    /// Why nothing can be run here; nil when it can.
    static let whyNot: String? =
        path == nil
        ? "bgctl was not built beside the tests"
        : !Machine.hasMkfs ? "mkfs.btrfs is not installed" : nil

    /// Runs bgctl to its end.
    static func run(_ arguments: String..., columns: Int = 100) throws -> Outcome {
        try execute(#require(path), arguments, ["COLUMNS": String(columns)])
    }

    static func execute(
        _ path: String,
        _ arguments: [String],
        _ variables: [String: String] = [:]
    ) throws -> Outcome {
        try BGTestSupport.execute(path, arguments, variables)
    }
}

/// Expects `status`, nothing on standard output, and one line on standard error that says `word`.
func expectComplaint(
    _ outcome: Outcome,
    _ word: String,
    status: Int32 = 1,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(outcome.status == status, sourceLocation: sourceLocation)
    #expect(outcome.output.isEmpty, sourceLocation: sourceLocation)
    let lines = outcome.complaint.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(
        lines.count == 2 && lines[1].isEmpty,
        "\(outcome.complaint)",
        sourceLocation: sourceLocation
    )
    #expect(
        outcome.complaint.hasPrefix("bgctl: ") && outcome.complaint.contains(word),
        "\(outcome.complaint)",
        sourceLocation: sourceLocation
    )
}

typealias Folder = TemporaryFolder
typealias TestImage = MkfsImage

extension TestImage {
    /// A file system made by mkfs.btrfs; with some files in it where it has one device.
    convenience init(bytes: UInt64 = 300 << 20, devices: Int = 1, _ options: String...) throws {
        let content = (1...20).map { number in
            ("file\(number)", [UInt8](repeating: UInt8(number), count: number * 20_000))
        }
        try self.init(
            sizes: Array(repeating: Int(bytes), count: devices),
            options,
            content: devices == 1 ? content : []
        )
    }
}
