//===-- CheckCommandTests.swift - bgctl check as its users run it ---------------------------------===//
// Covered: what it prints and its exit status on sound images and on such with faults, as text and as JSON;
// data and further copies, which are read only when asked for; a missing device.
// Not covered: that every kind of fault is found (PlantedFaultTests, Tests/Judge/self-test); bad input
// (CommandTests).
// Without mkfs.btrfs, or without bgctl beside the tests, the suite is skipped, and says so.
//===-------------------------------------------------------------------------------------------===//

import BGTestSupport
import Foundation
import Testing

@Suite(
    "bgctl check",
    .enabled(if: Program.whyNot == nil, Comment(rawValue: Program.whyNot ?? ""))
)
struct CheckCommandTests {
    /// Its last line says what was looked at.
    private func expectSound(_ outcome: Outcome) throws -> String {
        #expect(outcome.status == 0 && outcome.complaint == "", "\(outcome)")
        let lines = outcome.output.split(separator: "\n").filter { !$0.hasPrefix("note: ") }
        #expect(lines.count == 1, "\(outcome.output)")
        return String(try #require(lines.last))
    }

    @Test func aSoundImageIsOneLineAndStatusZero() throws {
        let image = try TestImage()
        let line = try expectSound(try Program.run("check", image.path))
        // 20 files and the top directory; with inodes of trees that are not files'.
        #expect(line.contains(" tree blocks, 20 data extents, ") && line.hasSuffix(": no faults"))
        // 20000 bytes and as many more with each, in whole sectors.
        let bytes = (1...20).reduce(0) { $0 + ($1 * 20_000 + 4095) / 4096 * 4096 }
        let data = try expectSound(try Program.run("check", "--data", image.path))
        #expect(data.hasSuffix(" of data: no faults"))
        let json = try Program.run("check", "--data", "--json", "--all-mirrors", image.path).json()
        #expect(json["ok"] as? Bool == true && json["faults"] as? Int == 0)
        #expect(json["data_extents"] as? Int == 20 && json["verified_bytes"] as? Int == bytes)
        let faults = try #require(json["lines"] as? [[String: Any]])
        #expect(faults.allSatisfy { $0["is_remark"] as? Bool == true })
    }

    /// By the names of Tests/Judge/self-test; the words of each line that must be there.
    static let faults: [(String, [String])] = [
        ("a link count of two for one name", ["2 links, 1 references"]),
        ("a block group counts a block too many", ["block group"]),
        ("no device extent", ["device extent"]),
        ("no checksums for a data extent", ["checksum"]),
        ("a free extent is a sector short", ["free space"]),
    ]

    @Test(.enabled(if: Machine.tool("python3") != nil, "needs python3"), arguments: faults)
    func aPlantedFaultIsALineAndStatusOne(fault: String, words: [String]) throws {
        // With these, mkfs.btrfs leaves no free-space items of groups that it removed.
        let image = try TestImage(bytes: 200 << 20, devices: 1, "-m", "single")
        try run("python3", [testScript("Judge/self-test"), "--plant", fault, image.path])
        let outcome = try Program.run("check", image.path)
        #expect(outcome.status == 1 && outcome.complaint == "", "\(outcome)")
        var lines = outcome.output.split(separator: "\n").filter { !$0.hasPrefix("note: ") }
        let last = try #require(lines.last)
        lines.removeLast()
        #expect(!lines.isEmpty)
        let count = lines.count == 1 ? "1 fault" : "\(lines.count) faults"
        #expect(last.hasSuffix(": \(count)"), "\(outcome.output)")
        for word in words {
            #expect(lines.contains { $0.contains(word) }, "\(word): \(outcome.output)")
        }

        let json = try Program.run("check", "--json", image.path)
        #expect(json.status == 1)
        let facts = try json.json()
        #expect(facts["ok"] as? Bool == false && facts["faults"] as? Int == lines.count)
        let listed = try #require(facts["lines"] as? [[String: Any]])
        let messages = listed.filter { $0["is_remark"] as? Bool == false }
            .compactMap { $0["message"] as? String }
        #expect(messages == lines.map(String.init))
        for line in listed { #expect((line["kind"] as? String)?.isEmpty == false) }
    }

    @Test func eachFaultIsALineOfItsOwn() throws {
        let image = try TestImage()
        // Both copies of every leaf of the checksum and the free-space tree.
        try #require(try damageTree(7, ofImage: image.path) > 0)
        try #require(try damageTree(10, ofImage: image.path) > 0)
        let outcome = try Program.run("check", image.path)
        #expect(outcome.status == 1)
        #expect(outcome.output.contains("root=7 ") && outcome.output.contains("root=10 "))
        for line in outcome.output.split(separator: "\n").dropLast() {
            #expect(line.contains(": "), "\(line)")
        }
    }

    @Test func dataAndFurtherCopiesAreReadWhenAskedFor() throws {
        let image = try TestImage()
        // file9 is nothing but nines.
        let bytes = try readFile(image.path)
        let pattern = [UInt8](repeating: 9, count: 4096)
        let sector = stride(from: 0, to: bytes.count, by: 4096)
            .first { bytes[$0..<$0 + 4096].elementsEqual(pattern) }
        try image.write([8], at: try #require(sector) + 5)
        #expect(try Program.run("check", image.path).status == 0)
        let outcome = try Program.run("check", "--data", image.path)
        #expect(outcome.status == 1 && outcome.output.contains(": 1 fault"), "\(outcome.output)")
        let line = try #require(
            try Program.run("check", "--data", "--json", image.path).json()["lines"]
                as? [[String: Any]]
        ).first { $0["is_remark"] as? Bool == false }
        #expect(line?["kind"] as? String == "data" && line?["devid"] as? Int == 1)
    }

    @Test func aMissingDeviceIsAFaultAndTheRestIsChecked() throws {
        let image = try TestImage(bytes: 300 << 20, devices: 2, "-d", "raid1", "-m", "raid1")
        _ = try expectSound(try Program.run("check", image.paths[1], image.paths[0]))
        let outcome = try Program.run("check", image.paths[1])
        #expect(outcome.status == 1)
        #expect(outcome.output.hasPrefix("device: devid=1, was not given\n"), "\(outcome.output)")
    }
}
