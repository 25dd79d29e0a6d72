// Prometheus' rules from their YAML.
//
// std.parseYaml of jsonnet 0.18 fails on values of several lines whose ends are kept, as the expressions' are. Their
// lines are therefore written below each other and folded into one; PromQL does not mind.
local spaces = [std.repeat(' ', n) for n in std.range(0, 24)];

// std.lstripChars takes seconds for all lines.
local indentation(line) =
  std.length([n for n in std.range(1, 24) if std.startsWith(line, spaces[n])]);

// A chunk begins with the lines of an expression; the rest of the file up to the next one comes after them.
local fold(chunk) =
  local lines = std.split(chunk, '\n');
  local margin = indentation(lines[1]);
  local ends = [i for i in std.range(1, std.length(lines) - 1) if lines[i] != '' && indentation(lines[i]) < margin];
  local end = if std.length(ends) > 0 then ends[0] else std.length(lines);
  local align(line) = if line == '' then line else spaces[margin] + line[indentation(line):];
  std.join('\n', [
    if i == 0 || i >= end then lines[i] else align(lines[i])
    for i in std.range(0, std.length(lines) - 1)
  ]);

function(text)
  local chunks = std.split(std.strReplace(text, 'expr: |', '\u0000'), '\u0000');
  std.parseYaml(std.join('expr: >-', [chunks[0]] + std.map(fold, chunks[1:])))
