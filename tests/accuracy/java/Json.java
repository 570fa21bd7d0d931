import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Reads the plan: as much of JSON as Python's json.dumps writes of plain ASCII. */
final class Json {
  private final String text;
  private int at;

  Json(String text) {
    this.text = text;
  }

  private char next() {
    while (Character.isWhitespace(text.charAt(at))) at++;
    return text.charAt(at);
  }

  Object value() {
    switch (next()) {
      case '{': {
        Map<String, Object> members = new HashMap<>();
        at++;
        while (next() != '}') {
          if (text.charAt(at) == ',') at++;
          next();
          String name = string();
          next();
          at++;
          members.put(name, value());
        }
        at++;
        return members;
      }
      case '[': {
        List<Object> items = new ArrayList<>();
        at++;
        while (next() != ']') {
          if (text.charAt(at) == ',') at++;
          items.add(value());
        }
        at++;
        return items;
      }
      case '"':
        return string();
      default:
        int start = at;
        while (",]} \n".indexOf(text.charAt(at)) < 0) at++;
        String word = text.substring(start, at);
        if (word.equals("true") || word.equals("false")) return Boolean.valueOf(word);
        return word.equals("null") ? null : Double.valueOf(word);
    }
  }

  private String string() {
    int start = ++at;
    at = text.indexOf('"', at);
    return text.substring(start, at++);
  }
}
