/* The program: finds the command and hands over.       layer: cli; uses: ijepa.h */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static const cli_command *const commands[] = {
    &cmd_devices, &cmd_train, &cmd_embed,  &cmd_eval,     &cmd_finetune, &cmd_ablate, &cmd_search,
    &cmd_convert, &cmd_inspect,
    &cmd_scenes,  &cmd_masks, &cmd_replay, &cmd_selftest, &cmd_tune,     &cmd_bench,
};

static void print_help(void) {
    printf("ijepa %s: I-JEPA pretraining on any Vulkan device\n\nUsage: ijepa COMMAND [OPTIONS]\n\nCommands\n", ijepa_version());
    for (int i = 0; i < CLI_COUNT(commands); i++) printf("  %-10s %s\n", commands[i]->name, commands[i]->purpose);
    printf("  %-10s %s\n\n", "help", "this text; help COMMAND; help environment");
    printf("Examples\n"
           "  ijepa devices\n"
           "  ijepa train samples/configs/fashion-mnist.yaml --out runs/fashion\n"
           "  ijepa eval runs/fashion\n");
}

static const cli_command *find(const char *name) {
    for (int i = 0; i < CLI_COUNT(commands); i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

static int unknown(const char *name) {
    const char *names[CLI_COUNT(commands) + 1];
    for (int i = 0; i < CLI_COUNT(commands); i++) names[i] = commands[i]->name;
    names[CLI_COUNT(commands)] = "help";
    const char *nearest = cli_nearest(name, names, CLI_COUNT(names));
    if (nearest) return cli_usage(NULL, "no command is called \"%s\"; did you mean \"%s\"?", name, nearest);
    return cli_usage(NULL, "no command is called \"%s\"; see: ijepa help", name);
}

static int help(const cli_environment *environment, int argc, char **argv) {
    if (argc < 2) return print_help(), CLI_DONE;
    if (strcmp(argv[1], "environment") == 0) return cli_environment_help(), CLI_DONE;
    if (strcmp(argv[1], "help") == 0) return print_help(), CLI_DONE;
    const cli_command *command = find(argv[1]);
    if (!command) return unknown(argv[1]);
    char *ask[] = {argv[1], (char[]){"--help"}, NULL};
    return command->run(environment, 2, ask);
}

/* What was printed must have arrived: a full disk is a failure, not a success. */
static int finish(int code) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    fprintf(stderr, "ijepa: standard output cannot be written\n");
    return code ? code : CLI_FAILED;
}

int main(int argc, char **argv) {
    cli_environment environment = cli_environment_read();
    cli_environment_tune();
    if (argc < 2) {
        print_help();
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("ijepa %s\n", ijepa_version());
        return finish(CLI_DONE);
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_help();
        return finish(CLI_DONE);
    }
    if (strcmp(name, "help") == 0) return finish(help(&environment, argc - 1, argv + 1));
    const cli_command *command = find(name);
    return finish(command ? command->run(&environment, argc - 1, argv + 1) : unknown(name));
}
