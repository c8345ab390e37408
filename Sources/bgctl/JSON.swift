//===-- JSON.swift - writes JSON as it comes ------------------------------------------------------===//
// Straight into the output, so that millions of free extents need no tree in memory. Commas are the
// writer's concern; that each key has one value is the caller's.

struct JSONWriter: ~Copyable {
    private var output: Output
    /// Whether the innermost object or array has an element already.
    private var hasElement = false
    private var isAfterKey = false

    init() { output = Output() }

    mutating func object(_ body: (inout JSONWriter) throws -> Void) rethrows {
        try nested("{", "}", body)
    }

    mutating func array(_ body: (inout JSONWriter) throws -> Void) rethrows {
        try nested("[", "]", body)
    }

    mutating func key(_ name: String) {
        separate()
        write(quoted: name)
        output.write(":")
        isAfterKey = true
    }

    mutating func value(_ number: UInt64) { scalar(String(number)) }
    mutating func value(_ number: Int) { scalar(String(number)) }
    mutating func value(_ flag: Bool) { scalar(flag ? "true" : "false") }
    /// Three decimals.
    mutating func value(_ number: Double) { scalar(decimal(number, 3)) }
    mutating func null() { scalar("null") }

    mutating func value(_ text: String) {
        separate()
        write(quoted: text)
    }

    mutating func field(_ name: String, _ number: UInt64) { key(name); value(number) }
    mutating func field(_ name: String, _ number: Int) { key(name); value(number) }
    mutating func field(_ name: String, _ flag: Bool) { key(name); value(flag) }
    mutating func field(_ name: String, _ number: Double) { key(name); value(number) }
    mutating func field(_ name: String, _ text: String) { key(name); value(text) }

    mutating func field(_ name: String, _ body: (inout JSONWriter) throws -> Void) rethrows {
        key(name)
        try object(body)
    }

    mutating func list(_ name: String, _ body: (inout JSONWriter) throws -> Void) rethrows {
        key(name)
        try array(body)
    }

    /// Ends the line and writes everything out.
    mutating func end() throws {
        output.write("\n")
        try output.flush()
    }

    private mutating func nested(
        _ open: String,
        _ close: String,
        _ body: (inout JSONWriter) throws -> Void
    ) rethrows {
        separate()
        output.write(open)
        hasElement = false
        try body(&self)
        output.write(close)
        hasElement = true
    }

    private mutating func scalar(_ text: String) {
        separate()
        output.write(text)
    }

    private mutating func separate() {
        if isAfterKey {
            isAfterKey = false
        } else if hasElement {
            output.write(",")
        }
        hasElement = true
    }

    private mutating func write(quoted text: String) {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            case "\t": quoted += "\\t"
            case "\0"..<" ", "\u{7f}"..."\u{9f}":
                let hex = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        output.write(quoted + "\"")
    }
}
