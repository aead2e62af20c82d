/** `Pgm NAME ARGS…` runs com.google.gerrit.pgm.NAME: there is no gerrit.war here, whose launcher would. */
public class Pgm {
  public static void main(String[] words) throws Exception {
    Class<?> program = Class.forName("com.google.gerrit.pgm." + words[0]);
    Object arguments = java.util.Arrays.copyOfRange(words, 1, words.length);
    Object made = program.getDeclaredConstructor().newInstance();
    System.exit((Integer) program.getMethod("main", String[].class).invoke(made, arguments));
  }
}
